"""The columns of a table, for every format: what a cell shows, how soon a narrow terminal drops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from petl_bench.report.chance import ahead, clips_tested, none_above_chance
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.measure import NO_DATA, count, digits, percent, size


@dataclass(frozen=True)
class Column:
    """A column after the method's name."""

    key: str
    head: str
    unit: str
    rank: int  # 0 is the last to go where there is no room
    cell: Callable[[Row], str]


def _cost(name: str, show: Callable[[float | None], str] = digits) -> Callable[[Row], str]:
    return lambda row: show(row.cost[name].mean if name in row.cost else None)


def _paper(row: Row) -> str:
    return f"{row.paper_top1.top1:.1f}" if row.paper_top1 and row.paper_top1.top1 is not None else NO_DATA


def _to_paper(row: Row) -> str:
    return NO_DATA if row.paper_difference is None else f"{row.paper_difference:+.1f}"


COLUMNS: tuple[Column, ...] = (
    Column("backbone", "backbone", "", 17, lambda row: row.backbone),
    Column("n", "n", "", 7, lambda row: str(row.n)),
    Column("top1", "top-1", "%", 0, lambda row: percent(row.top1)),
    Column("paper", "paper top-1", "%", 5, _paper),
    Column("to_paper", "to paper", "points", 6, _to_paper),
    Column("top5", "top-5", "%", 12, lambda row: percent(row.top5)),
    Column("mean_class", "mean class", "%", 16, lambda row: percent(row.mean_class)),
    Column("pair", "pair", "%", 1, lambda row: percent(row.pair)),
    Column("trained", "trained", "params", 2, _cost("trainable_params_without_head", count)),
    Column("trained_head", "with head", "params", 13, _cost("trainable_params", count)),
    Column("share", "share", "%", 9, lambda row: digits(row.share)),
    Column("gflops", "GFLOPs", "all views", 3, _cost("gflops")),
    Column("memory", "memory", "MiB", 11, _cost("peak_memory_mb")),
    Column("compute", "train", "s", 4, _cost("compute_seconds")),
    Column("alone", "alone", "s", 10, _cost("alone_seconds")),
    Column("step", "step", "ms", 14, _cost("step_ms")),
    Column("test", "test", "clips/s", 8, _cost("test_clips_per_second")),
    Column("file", "adapter", "file", 15, _cost("adapter_bytes", size)),
)


def used_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns in which at least one row has something to show; backbones where there are several."""
    one = len({row.backbone for row in rows}) < 2
    return [
        column
        for column in COLUMNS
        if any(column.cell(row) != NO_DATA for row in rows) and not (one and column.key == "backbone")
    ]


def best(comparison: Comparison) -> set[str]:
    """Labels of the highest top-1: all that cannot be told from it, none where no row is above chance."""
    rows = comparison.rows
    if not rows or none_above_chance(rows, comparison.chance):
        return set()
    return set(ahead({row.label: row.top1.mean for row in rows}, clips_tested(rows)))
