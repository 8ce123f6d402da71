"""Tables of studies: settings of a method, shares of the training data, order of the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petl_bench.report.collect import Row
from petl_bench.report.grid import Grid, columns_of, difference_text
from petl_bench.report.measure import count, digits, measure, percent
from petl_bench.report.paired import Paired, paired, single
from petl_bench.report.runs import Run
from petl_bench.report.sweeps import DataLine, Sweep
from petl_bench.report.table import BLIND, csv_text

ORDERS = ("shuffled", "reversed")
_INTERVAL = "the 95 % t-interval over the seeds in brackets"


def sweep_grid(sweeps: Sequence[Sweep]) -> Grid:
    """The settings of one method: a line for each variant, the base in every setting."""
    lines: list[tuple[str, ...]] = []
    strong: list[int] = []
    for sweep in sweeps:
        for variant in sweep.variants:
            row = variant.row
            base = row is sweep.base
            if base:
                strong.append(len(lines))
            first = variant is sweep.variants[0]
            lines.append(
                (
                    sweep.setting if first else "",
                    variant.name,
                    percent(row.top1),
                    "base" if base else difference_text(against_base(sweep, row).interval()),
                    _cost(row, "trainable_params_without_head", count),
                    difference_text(order_drop(row, "shuffled").interval()),
                    str(row.n),
                    percent(row.pair),
                    _cost(row, "gflops", digits),
                    _cost(row, "compute_seconds", digits),
                )
            )
    head = ("setting", "value", "top-1 %", "against base", "trained", "lost when shuffled", "n")
    kept = columns_of(lines, (*head, "pair %", "GFLOPs", "train s"), left=2)
    base_row = sweeps[0].base
    return Grid(
        f"Settings of {base_row.stem}",
        f"One setting changed, all others as in the base ({base_row.label}). against base: difference in top-1, in "
        f"points, paired over seeds, {_INTERVAL}.",
        kept[0],
        kept[1:],
        left=2,
        strong=tuple(strong),
    )


def against_base(sweep: Sweep, row: Row) -> Paired:
    """Difference in top-1 between a variant and the base, points, seed by seed."""
    return paired(row, sweep.base, _top1)


def sweep_csv(sweeps: Sequence[Sweep]) -> str:
    """A line for each variant, raw numbers."""
    head = ["method", "backbone", "setting", "value", "label", "base", "n", "top1_mean", "top1_std"]
    head += ["against_base", "low", "high", "pairs", "trainable_params_without_head", "gflops", "seconds"]
    lines: list[list[Any]] = []
    for sweep in sweeps:
        for variant in sweep.variants:
            row = variant.row
            found = against_base(sweep, row).interval() if row is not sweep.base else None
            lines.append(
                [
                    sweep.method,
                    sweep.backbone,
                    sweep.setting,
                    variant.name,
                    row.label,
                    row is sweep.base,
                    row.n,
                    row.top1.mean,
                    row.top1.std,
                    *([found.mean, found.low, found.high, found.n] if found else [None] * 4),
                    *(
                        row.cost[f].mean
                        for f in ("trainable_params_without_head", "gflops", "compute_seconds")
                    ),
                ]
            )
    return csv_text(head, lines)


def fraction_grid(lines: Sequence[DataLine]) -> Grid:
    """A line for each method, a column for each share of the training clips."""
    shares = sorted({row.fraction for line in lines for row in line.rows})
    rows = []
    for line in lines:
        by_share = {row.fraction: row for row in line.rows}
        mark = f" {BLIND}" if line.rows[-1].order_blind else ""
        cells = [percent(by_share[share].top1) if share in by_share else "" for share in shares]
        rows.append((line.name + mark, *cells, " / ".join(map(str, sorted({row.n for row in line.rows})))))
    return Grid(
        "Accuracy against the share of the training clips",
        "Top-1 in percent, mean ± sample standard deviation over n seeds. The clips of a share are a part of those of "
        "every larger share, the same for all methods.",
        ("method", *(f"{100 * share:g} %" for share in shares), "n"),
        tuple(rows),
    )


def fraction_csv(lines: Sequence[DataLine]) -> str:
    """A line for each method and share, raw numbers."""
    head = ["method", "label", "backbone", "fraction", "train_clips", "n", "top1_mean", "top1_std"]
    return csv_text(
        head,
        [
            [
                *(line.name, row.label, row.backbone, row.fraction, _clips(row.runs[0])),
                *(row.n, row.top1.mean, row.top1.std),
            ]
            for line in lines
            for row in line.rows
        ],
    )


def order_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows that were tested with the frames in another order, too."""
    return [
        row for row in rows if any(_other(run, order) is not None for run in row.runs for order in ORDERS)
    ]


def order_grid(rows: Sequence[Row]) -> Grid:
    """Accuracy with the frames of the test clips as they are, shuffled and reversed. There is at least one row."""
    lines = [
        (
            row.label + (f" {BLIND}" if row.order_blind else ""),
            percent(row.top1),
            *(percent(measure(_other(run, order) for run in row.runs)) for order in ORDERS),
            *(difference_text(order_drop(row, order).interval()) for order in ORDERS),
            str(row.n),
        )
        for row in rows
    ]
    head = ("method", "kept", *ORDERS, *(f"lost when {order}" for order in ORDERS), "n")
    kept = columns_of(lines, head, left=1)
    return Grid(
        "Order of the frames",
        "Test top-1 in percent with the frames of each clip kept, shuffled and reversed; what is lost, in points, "
        f"paired over seeds, {_INTERVAL}. The methods were trained on frames in order.",
        kept[0],
        kept[1:],
    )


def order_drop(row: Row, order: str) -> Paired:
    """Top-1 with the frames kept minus top-1 with the frames in another order, points, seed by seed."""

    def drop(run: Run) -> float | None:
        other = _other(run, order)
        return None if other is None else run.metrics.top1 - other

    return single(row, drop)


def order_csv(rows: Sequence[Row]) -> str:
    """A line for each row and order, raw numbers."""
    head = ["label", "method", "order_blind", "order", "n", "top1_mean", "lost", "low", "high"]
    lines: list[list[Any]] = []
    for row in rows:
        for order in ORDERS:
            values = measure(_other(run, order) for run in row.runs)
            lost = order_drop(row, order).interval()
            if values is None or lost is None:
                continue
            line = [row.label, row.method, row.order_blind, order, values.n, values.mean]
            lines.append([*line, lost.mean, lost.low, lost.high])
    return csv_text(head, lines)


def _other(run: Run, order: str) -> float | None:
    value: float | None = getattr(run.metrics, f"top1_{order}")
    return value


def _top1(run: Run) -> float:
    return run.metrics.top1


def _cost(row: Row, field: str, show: Any) -> str:
    return str(show(row.cost[field].mean)) if field in row.cost else ""


def _clips(run: Run) -> int | None:
    p = run.record.provenance
    return p.clips["train"].used if p and "train" in p.clips else None
