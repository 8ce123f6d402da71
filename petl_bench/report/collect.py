"""From run folders to rows: each record is read once, runs of a label are averaged over their seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.errors import UserError, unknown_name
from petl_bench.records import Cost, Metrics, RunRecord
from petl_bench.report.measure import Measure, measure
from petl_bench.report.paper_numbers import Paper, PaperNumber, comparable
from petl_bench.results import RunFolder, find_runs

VARIANT = "@"  # in a label: what follows says how the row differs from the row that has no such mark
COST_FIELDS = tuple(name for name in Cost.model_fields if name != "peak_memory_source")


@dataclass(frozen=True)
class Run:
    """A record and the folder that holds it."""

    record: RunRecord
    folder: RunFolder
    where: str  # relative to the results folder, so that reports hold no machine's paths

    @property
    def metrics(self) -> Metrics:
        assert self.record.metrics is not None  # checked by `read_runs` for finished runs
        return self.record.metrics

    @property
    def cost(self) -> Cost:
        assert self.record.cost is not None
        return self.record.cost

    def setting(self, *path: str) -> Any:
        """A value of the run's resolved config, None where there is none."""
        node: Any = self.record.config
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    @property
    def settings(self) -> dict[str, Any]:
        """Of the method; records older than the field `settings` know only those that were given."""
        return self.record.settings or self.setting("method", "settings") or {}

    @property
    def fraction(self) -> float:
        """Share of the training clips that the run trained on."""
        return float(self.setting("dataset", "fraction") or 1.0)

    @property
    def learning_rate(self) -> float | None:
        """The method's own rate, or the recipe's for methods that have none."""
        own = self.setting("method", "lr")
        return own if own is not None else self.setting("recipe", "lr")


@dataclass(frozen=True)
class Row:
    """The finished runs of one label, averaged over seeds. Accuracies in percent, costs as in `Cost`."""

    label: str
    method: str
    backbone: str
    order_blind: bool
    runs: tuple[Run, ...]  # by seed
    top1: Measure
    top5: Measure | None
    mean_class: Measure
    pair: Measure | None
    cost: dict[str, Measure]
    per_class: dict[str, Measure]
    per_pair: dict[str, Measure]
    share: float | None = None  # of the backbone's parameters that the method trains, without head, percent
    paper: tuple[PaperNumber, ...] = ()

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the method. Seeds that differ in them are warned of."""
        return self.runs[0].settings

    @property
    def fraction(self) -> float:
        """Share of the training clips."""
        return self.runs[0].fraction

    @property
    def stem(self) -> str:
        """The label without what marks it as a variant: `st_adapter` of `st_adapter@width=32`."""
        return self.label.split(VARIANT)[0]

    @property
    def paper_top1(self) -> PaperNumber | None:
        """The published top-1 that names most of this row's conditions."""
        return next((p for p in self.paper if p.top1 is not None), None)

    @property
    def paper_difference(self) -> float | None:
        """Ours minus the published top-1, points, where the conditions are known to agree."""
        number = self.paper_top1
        if number is None or number.top1 is None or not comparable(number, "top1"):
            return None
        return self.top1.mean - number.top1


@dataclass(frozen=True)
class Comparison:
    """All runs of a suite on one data set: one table."""

    dataset: str
    rows: tuple[Row, ...]  # by falling mean top-1
    unfinished: tuple[Run, ...]  # running or failed
    missing: tuple[tuple[str, int], ...]  # (label, seed) that other rows have
    classes: int | None
    paired_share: float | None = field(
        default=None
    )  # of the classes that have a time-reversed twin; None: no pairs

    @property
    def chance(self) -> float | None:
        """Top-1 of guessing among balanced classes, percent."""
        return 100 / self.classes if self.classes else None

    @property
    def blind_ceiling(self) -> float | None:
        """Highest top-1, in percent, of a method that cannot tell a clip from its reversal.

        In a pair of time-reversed classes such a method scores a clip and its reversal alike, so that one of
        the two is wrong: 50 %. Classes without a twin have no such limit.
        """
        return None if self.paired_share is None else 100 - 50 * self.paired_share


def find_suites(results: Path) -> list[str]:
    """Names of the suites that have runs under `results`.

    Raises:
        UserError: there are none.
    """
    suites = sorted({path.parents[3].name for path in results.glob("*/*/*/seed-*/record.json")})
    if not suites:
        raise _no_runs(results)
    return suites


def read_runs(results: Path, suite: str) -> list[Run]:
    """Every run of a suite, by data set, label and seed.

    Raises:
        UserError: no run, a record that cannot be read, a finished run without its numbers, or two folders
            that hold the same run.
    """
    runs: dict[tuple[str, str, int], Run] = {}
    for folder in find_runs(results, suite):
        record = folder.read_record()
        if record is None:  # removed since it was listed
            continue
        if record.status == "done":
            if record.metrics is None or record.cost is None:
                raise UserError(f"{folder.record_file}: status is 'done', but metrics or cost are missing.")
            if not math.isfinite(record.metrics.top1):
                raise UserError(
                    f"{folder.record_file}: field 'metrics.top1': {record.metrics.top1} is no number."
                )
        run = Run(record, folder, folder.path.relative_to(results).as_posix())
        key = (record.dataset, record.label, record.seed)
        if key in runs:
            raise UserError(
                f"Two folders hold the same run ({record.dataset}, {record.label}, seed {record.seed}): "
                f"{runs[key].folder.path} and {folder.path}. Move one of them away."
            )
        runs[key] = run
    if not runs:
        suites = find_suites(results)
        if suite not in suites:
            raise unknown_name(f"suite under {results}:", suite, suites)
        raise _no_runs(results / suite)
    return [runs[key] for key in sorted(runs)]


def compare(runs: Sequence[Run], paper: Paper) -> list[Comparison]:
    """The runs as one comparison per data set, in alphabetical order."""
    by_dataset: dict[str, list[Run]] = {}
    for run in runs:
        by_dataset.setdefault(run.record.dataset, []).append(run)
    return [_comparison(name, by_dataset[name], paper) for name in sorted(by_dataset)]


def _comparison(dataset: str, runs: Sequence[Run], paper: Paper) -> Comparison:
    by_label: dict[str, list[Run]] = {}
    for run in runs:
        by_label.setdefault(run.record.label, []).append(run)
    done = {label: finished for label, group in by_label.items() if (finished := _done(group))}
    sizes = _backbone_sizes(run for group in done.values() for run in group)
    rows = [_row(group, sizes, paper) for group in done.values()]
    rows.sort(key=lambda row: (-row.top1.mean, row.label))
    seeds = sorted({run.record.seed for run in runs})
    missing = []
    for label in sorted(by_label):
        have = {run.record.seed for run in by_label[label]}
        missing += [(label, seed) for seed in seeds if seed not in have]
    return Comparison(
        dataset=dataset,
        rows=tuple(rows),
        unfinished=tuple(run for run in runs if run.record.status != "done"),
        missing=tuple(missing),
        classes=next((c for run in runs if (c := run.setting("dataset", "classes"))), None)
        or next((len(row.per_class) for row in rows if row.per_class), None),
        paired_share=_paired_share(rows),
    )


def _done(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.record.status == "done"]


def _row(runs: list[Run], sizes: dict[str, int], paper: Paper) -> Row:
    record = runs[0].record
    cost = {name: m for name in COST_FIELDS if (m := measure(getattr(run.cost, name) for run in runs))}
    top1, mean_class = (measure(getattr(run.metrics, f) for run in runs) for f in ("top1", "mean_class"))
    assert top1 is not None  # every finished run has both
    assert mean_class is not None
    size = sizes.get(record.backbone)
    return Row(
        label=record.label,
        method=record.method,
        backbone=record.backbone,
        order_blind=record.order_blind,
        runs=tuple(runs),
        top1=top1,
        top5=measure(run.metrics.top5 for run in runs),
        mean_class=mean_class,
        pair=measure(run.metrics.pair_accuracy for run in runs),
        cost=cost,
        per_class=_by_name([run.metrics.per_class for run in runs]),
        per_pair=_by_name([run.metrics.per_pair for run in runs]),
        share=100 * cost["trainable_params_without_head"].mean / size if size else None,
        paper=tuple(
            paper.of(
                record.method,
                record.label,
                record.dataset,
                record.backbone,
                runs[0].setting("dataset", "sampling", "frames"),
                runs[0].cost.views,
            )
        ),
    )


def _by_name(runs: list[dict[str, float]]) -> dict[str, Measure]:
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            values.setdefault(name, []).append(value)
    return {name: m for name, group in values.items() if (m := measure(group))}


def _backbone_sizes(runs: Iterable[Run]) -> dict[str, int]:
    """Parameters of each backbone, from the costs of the runs on it.

    What a run leaves frozen is all of the backbone unless the method trains a part of it: the largest such
    count is the backbone's, as soon as one row freezes it. Where every row trains everything, the smallest
    whole model without its head is the best that is known.
    """
    frozen: dict[str, int] = {}
    whole: dict[str, int] = {}
    for run in runs:
        name, cost = run.record.backbone, run.cost
        head = cost.trainable_params - cost.trainable_params_without_head
        frozen[name] = max(frozen.get(name, 0), cost.total_params - cost.trainable_params)
        whole[name] = min(whole.get(name, cost.total_params), cost.total_params - head)
    return {name: frozen[name] or whole[name] for name in frozen}


def twins(pair: str, classes: Iterable[str]) -> tuple[str, str] | None:
    """The two classes of a pair `class/twin`; a class's own name may hold a slash too."""
    names = set(classes)
    parts = pair.split("/")
    for cut in range(1, len(parts)):
        left, right = "/".join(parts[:cut]), "/".join(parts[cut:])
        if left in names and right in names:
            return left, right
    return None


def _paired_share(rows: Sequence[Row]) -> float | None:
    if all(row.pair is None for row in rows):
        return None
    row = next((r for r in rows if r.per_pair and r.per_class), None)
    if row is None:
        return 1.0
    paired = {name for pair in row.per_pair for name in twins(pair, row.per_class) or ()}
    return len(paired) / len(row.per_class) if paired else 1.0


def _no_runs(where: Path) -> UserError:
    return UserError(
        f"No runs found under {where} (looked for <suite>/<dataset>/<label>/seed-<n>/record.json). "
        "`petl-bench run` makes runs; --results DIR points to another folder of them."
    )
