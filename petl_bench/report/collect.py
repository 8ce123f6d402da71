"""From runs to rows: the runs of a label are averaged over their seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from petl_bench.config import load_named, packaged_names
from petl_bench.records import Cost
from petl_bench.report.measure import Measure, measure
from petl_bench.report.paper_numbers import Measured, Paper, PaperNumber, comparable
from petl_bench.report.runs import Run

VARIANT = "@"  # in a label: what follows says how the row differs from the row that has no such mark
COST_FIELDS = tuple(name for name in Cost.model_fields if name != "peak_memory_source")


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
    """All runs of a suite on one data set: one table. Several backbones with several methods have one each."""

    dataset: str
    rows: tuple[Row, ...]  # by falling mean top-1
    unfinished: tuple[Run, ...]  # running or failed
    missing: tuple[tuple[str, int], ...]  # (label, seed) that other rows have
    classes: int | None
    paired_share: float | None = field(
        default=None
    )  # of the classes that have a time-reversed twin; None: no pairs

    part: str | None = None  # the backbone, where there is a table for each

    @property
    def name(self) -> str:
        """What the table is called."""
        return self.dataset if self.part is None else f"{self.dataset}, {self.part}"

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


def compare(runs: Sequence[Run], paper: Paper) -> list[Comparison]:
    """The runs as one comparison per data set, in alphabetical order."""
    by_dataset: dict[str, list[Run]] = {}
    for run in runs:
        by_dataset.setdefault(run.record.dataset, []).append(run)
    return [
        _comparison(name, part, group, paper)
        for name in sorted(by_dataset)
        for part, group in _parts(by_dataset[name])
    ]


def _parts(runs: Sequence[Run]) -> list[tuple[str | None, Sequence[Run]]]:
    """The runs by backbone, where more than one has several methods; a control on another stays with the first."""
    methods: dict[str, set[str]] = {}
    for run in runs:
        methods.setdefault(run.record.backbone, set()).add(run.record.method)
    full = [name for name, on_it in methods.items() if len(on_it) > 1]
    if len(full) < 2:
        return [(None, runs)]
    place = {name: name if name in full else full[0] for name in methods}
    return [(name, [run for run in runs if place[run.record.backbone] == name]) for name in full]


def _comparison(dataset: str, part: str | None, runs: Sequence[Run], paper: Paper) -> Comparison:
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
        part=part,
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
        paper=_published(runs, paper),
    )


def _published(runs: Sequence[Run], paper: Paper) -> tuple[PaperNumber, ...]:
    """The published numbers that belong to every run of a row."""
    first, *others = (paper.of(_measured(run)) for run in runs)
    return tuple(number for number in first if all(number in other for other in others))


def _measured(run: Run) -> Measured:
    record = run.record
    given = run.setting("method", "settings")
    return Measured(
        method=record.method,
        label=record.label,
        backbone=record.backbone,
        dataset=record.dataset,
        frames=run.setting("dataset", "sampling", "frames"),
        views=run.cost.views,
        settings=run.settings,
        # without a config nobody knows which were given: then a number must name all of them
        given=frozenset(run.settings if given is None else given),
        image_size=run.setting("backbone", "image_size"),
        as_released=_as_released(
            record.backbone, run.setting("backbone", "model"), run.setting("backbone", "weights")
        ),
        fraction=run.fraction,
    )


@lru_cache
def _as_released(backbone: str, model: str | None, weights: str | None) -> bool:
    """Whether a run had the network that a backbone's name stands for, and pretrained. A file may hold the weights."""
    known = load_named("backbones", backbone) if backbone in packaged_names("backbones") else {}
    return weights != "random" and model in (None, known.get("model", model))


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
