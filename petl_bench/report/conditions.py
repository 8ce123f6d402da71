"""Under which conditions numbers were measured, and what keeps the rows of a table from being comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petl_bench.records import Clips
from petl_bench.report.collect import Comparison, Row, Run

Reader = Callable[[Run], Mapping[str, Any]]


def _recipe(run: Run) -> Mapping[str, Any]:
    # these two change when a run is looked at, not what it learns
    return _flat(
        {"recipe": run.setting("recipe")}, without={"recipe.test_batch_size", "recipe.validate_every"}
    )


def _data(run: Run) -> Mapping[str, Any]:
    config = {**(run.setting("dataset") or {})}
    for name in ("name", "summary", "root"):  # where it lies and what it is called, not what it is
        config.pop(name, None)
    p = run.record.provenance
    return {**_flat({"dataset": config}), **({"hash of the data": p.data_sha256[:12]} if p else {})}


def _backbone(run: Run) -> Mapping[str, Any]:
    p = run.record.provenance
    return {
        "backbone": run.record.backbone,
        **({"hash of the backbone": p.backbone_sha256[:12]} if p else {}),
    }


def _numerics(run: Run) -> Mapping[str, Any]:
    p = run.record.provenance
    return {"precision": p.precision, "decoder": p.decoder} if p else {}


def _machine(run: Run) -> Mapping[str, Any]:
    p = run.record.provenance
    memory = run.record.cost.peak_memory_source if run.record.cost else None
    return (
        {"device": p.device, "threads": p.threads, "platform": p.platform, "memory measured by": memory}
        if p
        else {}
    )


def _code(run: Run) -> Mapping[str, Any]:
    p = run.record.provenance
    if p is None:
        return {}
    commit = p.git_commit[:12] if p.git_commit else "unknown"
    dirty = " with uncommitted changes" if p.git_dirty else ""
    return {"petl-bench": p.petl_bench, "commit": commit + dirty, "Python": p.python, **p.packages}


# what a difference spoils -> where to look for differences
COMPARED: dict[str, tuple[Reader, ...]] = {
    "Accuracies are not comparable": (_recipe, _data, _backbone, _numerics),
    "Times and memory are not comparable": (_machine,),
    "Not made by one version of the code": (_code,),
}


@dataclass(frozen=True)
class Caution:
    """What is wrong (a headline), and each difference as one line of text."""

    headline: str
    lines: tuple[str, ...]


def cautions_of(comparison: Comparison) -> list[Caution]:
    """Everything that a reader must know before comparing rows of the table."""
    rows = comparison.rows
    found = [
        Caution(headline, lines)
        for headline, readers in COMPARED.items()
        if (lines := tuple(line for reader in readers for line in differences(rows, reader)))
    ]
    for headline, more in (
        ("Seeds of one row were not run alike", _uneven_rows(rows)),
        ("Clips were left out", _lost_clips(rows)),
        ("Learning rates were not chosen alike", _uneven_search(rows)),
    ):
        if more:
            found.append(Caution(headline, tuple(more)))
    return found


def differences(rows: Sequence[Row], read: Reader) -> list[str]:
    """One line for each condition that has more than one value: `recipe.epochs: 8 in full; 4 in prompt`."""
    values: dict[str, dict[str, dict[str, list[int]]]] = {}  # condition -> value -> label -> seeds
    sizes = {row.label: row.n for row in rows}
    for row in rows:
        for run in row.runs:
            for condition, value in read(run).items():
                by_value = values.setdefault(condition, {})
                by_value.setdefault(_text(value), {}).setdefault(row.label, []).append(run.record.seed)
    total = sum(sizes.values())
    lines = []
    for condition, by_value in values.items():
        said = sum(len(seeds) for labels in by_value.values() for seeds in labels.values())
        if said < total:
            by_value["not recorded"] = _others(rows, by_value)
        if len(by_value) > 1:
            parts = [f"{value} in {_who(labels, sizes)}" for value, labels in by_value.items()]
            lines.append(f"{condition}: " + "; ".join(parts))
    return lines


def conditions(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The conditions of a table as (name, value) pairs; values that differ stand side by side."""
    runs = [run for row in rows for run in row.runs]
    seen: dict[str, dict[str, None]] = {}  # condition -> its values, in the order met
    for run in runs:
        p = run.record.provenance
        facts: dict[str, Any] = {
            "backbone": _named_hash(run.record.backbone, p.backbone_sha256 if p else None),
            "data": _named_hash(run.record.dataset, p.data_sha256 if p else None),
            "sampling": _settings(run.setting("dataset", "sampling")),
            "augmentation": _settings(run.setting("dataset", "augment")),
            "test views": _settings(run.setting("dataset", "views")),
            "recipe": _settings(run.setting("recipe")),
        }
        if p:
            facts["clips"] = ", ".join(_clips(split, c) for split, c in p.clips.items())
            facts |= dict(_machine(run)) | dict(_numerics(run))
            code = dict(_code(run))
            facts |= {name: code.pop(name) for name in ("petl-bench", "commit")}
            facts["packages"] = ", ".join(f"{name} {version}" for name, version in code.items())
            facts["trained in lockstep with"] = ", ".join(p.companions)
        for name, value in facts.items():
            if value not in (None, ""):
                seen.setdefault(name, {})[_text(value)] = None
    # companions differ from row to row by nature: each names the others
    together = {name for value in seen.pop("trained in lockstep with", {}) for name in value.split(", ")}
    out = [(name, " / ".join(values)) for name, values in seen.items()]
    return [*out, ("trained in lockstep", ", ".join(sorted(together)))] if together else out


def _uneven_rows(rows: Sequence[Row]) -> list[str]:
    def own(run: Run) -> Mapping[str, Any]:
        settings = _flat({"settings": run.setting("method", "settings")})
        return {"learning rate": run.learning_rate, "method": run.record.method, **settings}

    return [f"{row.label}: {line}" for row in rows for line in differences([row], own)]


def _lost_clips(rows: Sequence[Row]) -> list[str]:
    lost: dict[str, dict[str, list[int]]] = {}
    for row in rows:
        for run in row.runs:
            for split, clips in (run.record.provenance.clips if run.record.provenance else {}).items():
                if clips.skipped or clips.unreadable:
                    text = _clips(split, clips)
                    lost.setdefault(text, {}).setdefault(row.label, []).append(run.record.seed)
    sizes = {row.label: row.n for row in rows}
    everyone = sum(sizes.values())
    lines = []
    for text, labels in lost.items():
        whole = sum(len(seeds) for seeds in labels.values()) == everyone
        lines.append(f"{text} ({'all rows' if whole else _who(labels, sizes)})")
    return lines


def _clips(split: str, clips: Clips) -> str:
    lost = [f"{n} {what}" for n, what in ((clips.skipped, "skipped"), (clips.unreadable, "unreadable")) if n]
    return f"{split} {clips.used}" + (f" ({', '.join(lost)})" if lost else "")


def _uneven_search(rows: Sequence[Row]) -> list[str]:
    """A comparison is fair when every row's rate was searched on the same grid, or no row's was."""

    def grid(run: Run) -> Mapping[str, Any]:
        return {"grid": sorted(run.record.selection.grid) if run.record.selection else "none"}

    return differences(rows, grid)


def _others(rows: Sequence[Row], by_value: Mapping[str, Mapping[str, list[int]]]) -> dict[str, list[int]]:
    have = {
        (label, seed) for labels in by_value.values() for label, seeds in labels.items() for seed in seeds
    }
    out: dict[str, list[int]] = {}
    for row in rows:
        for run in row.runs:
            if (row.label, run.record.seed) not in have:
                out.setdefault(row.label, []).append(run.record.seed)
    return out


def _who(labels: Mapping[str, list[int]], sizes: Mapping[str, int], most: int = 5) -> str:
    """`full, prompt (seed 2)`: seeds are named where not all of the row's are meant."""
    names = []
    for label, seeds in labels.items():
        some = len(seeds) < sizes[label]
        names.append(f"{label} (seed {', '.join(map(str, sorted(seeds)))})" if some else label)
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
    )


def _flat(
    node: Mapping[str, Any], prefix: str = "", without: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= _flat(value, f"{name}.", without)
        elif value is not None and name not in without:
            out[name] = value
    return out


def _settings(node: Any) -> str:
    return ", ".join(f"{k} {_text(v)}" for k, v in _flat(node).items()) if isinstance(node, Mapping) else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    return str(value)


def _named_hash(name: str, sha: str | None) -> str:
    return f"{name} (sha256 {sha[:12]})" if sha else name
