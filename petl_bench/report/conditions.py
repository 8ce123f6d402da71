"""Under which conditions numbers were measured."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from petl_bench.records import Clips
from petl_bench.report.collect import Row
from petl_bench.report.runs import Run

Reader = Callable[[Run], Mapping[str, Any]]
_SPECIAL = "computed with"

# these change when a run is looked at, or how it is computed, not what it learns; what may move an accuracy a little
# is in `numerics`
_HARMLESS = {
    f"recipe.{field}"
    for field in ("test_batch_size", "validate_every", "augment_on", "kernels", "compile", "checkpointing")
}


def known(run: Run, read: Reader) -> Mapping[str, Any]:
    """`read(run)`, worked out once for each run; runs of which it is the same hold the same object."""
    found = run.facts.get(read)
    if found is None:
        value: Any = read(run)
        # as bytes, since 1, 1.0 and True are equal but written differently; version 0: from the values alone
        found = run.facts[read] = run.pool.setdefault(marshal.dumps(value, 0), value)
    return found


def recipe(run: Run) -> dict[str, Any]:
    """How the run was trained, without the learning rate, which each method has for itself."""
    return {k: v for k, v in flat({"recipe": run.setting("recipe")}).items() if k not in _HARMLESS}


def data(run: Run) -> dict[str, Any]:
    """What the run saw."""
    config = {**(run.setting("dataset") or {})}
    for name in (
        "name",
        "summary",
        "root",
        "prepared",
    ):  # what it is called and where it lies, not what it is
        config.pop(name, None)
    config.pop("fraction", None)  # `share` tells it
    p = run.record.provenance
    return flat({"dataset": config}) | ({"hash of the data": p.data_sha256[:12]} if p else {})


def share(run: Run) -> dict[str, Any]:
    """How much of the training clips the run saw."""
    return {"share of the clips": run.fraction}


def backbone(run: Run) -> dict[str, Any]:
    """What the run started from."""
    p = run.record.provenance
    sha = {"hash of the backbone": p.backbone_sha256[:12]} if p else {}
    return {"backbone": run.record.backbone, **sha}


def numerics(run: Run) -> dict[str, Any]:
    """What may move an accuracy a little."""
    p = run.record.provenance
    if p is None:
        return {}
    cache = f", prepared as {p.prepared.format}" if p.prepared else ""
    return {"precision": p.precision, "decoder": p.decoder + cache, "augmented by": p.augment_on}


def machine(run: Run) -> dict[str, Any]:
    """What times and memory depend on."""
    p = run.record.provenance
    if p is None:
        return {}
    memory = run.cost.peak_memory_source
    how = {"device": p.device, "threads": p.threads, "platform": p.platform, "memory measured by": memory}
    recipe = run.setting("recipe") or {}
    fast = ["compile"] if recipe.get("compile") else []
    if share := recipe.get("checkpointing"):
        fast.append("checkpointing" if share is True else f"checkpointing of {share:g} of the blocks")
    fast += ["plain kernels"] if recipe.get("kernels") == "plain" else []
    return how | ({_SPECIAL: ", ".join(fast)} if fast else {})


def absent(condition: str) -> str:
    """What a run says that does not name a condition which others name."""
    return "nothing special" if condition == _SPECIAL else "not recorded"


def code(run: Run) -> dict[str, Any]:
    """Versions."""
    p = run.record.provenance
    if p is None:
        return {}
    commit = p.git_commit[:12] if p.git_commit else "unknown"
    dirty = " with uncommitted changes" if p.git_dirty else ""
    return {"petl-bench": p.petl_bench, "commit": commit + dirty, "Python": p.python, **p.packages}


def conditions(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The conditions of a table as (name, value) pairs; values that differ stand side by side, `8 / 30`."""
    # group -> item -> its values, in the order met; a group of one item has no name for it
    seen: dict[str, dict[str, dict[str, None]]] = {}
    companions: set[str] = set()
    runs = [run for row in rows for run in row.runs]
    for facts in {id(facts): facts for facts in (known(run, _facts) for run in runs)}.values():
        for group, items in facts.items():
            for item, value in items.items():
                seen.setdefault(group, {}).setdefault(item, {})[text_of(value)] = None
    for run in runs:
        if run.record.provenance:
            companions.update(run.record.provenance.companions)
    out = [(group, _joined(items)) for group, items in seen.items()]
    return [*out, ("trained in lockstep", ", ".join(sorted(companions)))] if companions else out


def _facts(run: Run) -> dict[str, dict[str, Any]]:
    p = run.record.provenance
    facts: dict[str, dict[str, Any]] = {
        "backbone": {"": _with_hash(run.record.backbone, p.backbone_sha256 if p else None)},
        "data": {"": _with_hash(run.record.dataset, p.data_sha256 if p else None)},
        "sampling": flat(run.setting("dataset", "sampling")),
        "augmentation": flat(run.setting("dataset", "augment")),
        "test views": flat(run.setting("dataset", "views")),
        "recipe": flat(run.setting("recipe")),
    }
    if p is None:
        return facts
    facts["clips"] = {split: clips_text(clips) for split, clips in p.clips.items()}
    versions = code(run)
    alone = machine(run) | numerics(run) | {name: versions.pop(name) for name in ("petl-bench", "commit")}
    return facts | {name: {"": value} for name, value in alone.items()} | {"packages": versions}


def _joined(items: Mapping[str, Iterable[str]]) -> str:
    return ", ".join(f"{name} {' / '.join(values)}".strip() for name, values in items.items())


def _with_hash(name: str, sha: str | None) -> str:
    return f"{name} (sha256 {sha[:12]})" if sha else name


def clips_text(clips: Clips) -> str:
    """`4320`, `168000 (13 unreadable)`."""
    lost = [f"{n} {what}" for n, what in ((clips.skipped, "skipped"), (clips.unreadable, "unreadable")) if n]
    return f"{clips.used}" + (f" ({', '.join(lost)})" if lost else "")


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; values that are None are left out."""
    out: dict[str, Any] = {}
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, Mapping):
                out |= flat(value, f"{prefix}{key}.")
            elif value is not None:
                out[f"{prefix}{key}"] = value
    return out


def text_of(value: Any) -> str:
    """A value of a config for people: `yes`, `0.001`, `[3, 1, 1]`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text_of(v) for v in value) + "]"
    return str(value)
