"""Differences between rows, seed by seed: runs of one seed saw the same clips in the same order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petl_bench.report.collect import Row
from petl_bench.report.conditions import Reader, absent, backbone, data, known, recipe, share, text_of
from petl_bench.report.intervals import Interval, interval
from petl_bench.report.runs import Run

Value = Callable[[Run], float | None]
ALIKE: tuple[Reader, ...] = (backbone, share, data, recipe)  # what the two runs of a pair must share


@dataclass(frozen=True)
class Paired:
    """One number for each seed that two rows share.

    Attributes:
        values: seed -> number.
        dropped: why a seed is not among them, a line each.
    """

    values: dict[int, float]
    dropped: tuple[str, ...] = ()

    def interval(self, confidence: float = 0.95) -> Interval | None:
        return interval(list(self.values.values()), confidence) if self.values else None


def paired(
    a: Row,
    b: Row,
    value: Value,
    combine: Callable[[float, float], float] = lambda x, y: x - y,
    alike: tuple[Reader, ...] = ALIKE,
) -> Paired:
    """`combine(value(a), value(b))` for every seed of both rows.

    A seed is dropped, and said so, where one of the two has no finished run or no such number, or where the two
    runs differ in a condition of `alike`.
    """
    runs_a, runs_b = ({run.record.seed: run for run in row.runs} for row in (a, b))
    values: dict[int, float] = {}
    dropped = []
    for seed in sorted(runs_a.keys() | runs_b.keys()):
        if seed not in runs_a or seed not in runs_b:
            dropped.append(f"seed {seed}: no finished run of {(a if seed not in runs_a else b).label}")
            continue
        left, right = runs_a[seed], runs_b[seed]
        x, y = value(left), value(right)
        if x is None or y is None:
            dropped.append(f"seed {seed}: not measured in {(a if x is None else b).label}")
        elif unlike := _unlike(left, right, alike):
            dropped.append(f"seed {seed}: {unlike}")
        else:
            values[seed] = combine(x, y)
    return Paired(values, tuple(dropped))


def single(row: Row, value: Value) -> Paired:
    """`value` of every seed of one row."""
    values = {run.record.seed: value(run) for run in row.runs}
    dropped = tuple(f"seed {seed}: not measured in {row.label}" for seed, v in values.items() if v is None)
    return Paired({seed: v for seed, v in values.items() if v is not None}, dropped)


def _unlike(a: Run, b: Run, alike: tuple[Reader, ...]) -> str | None:
    """The first condition in which two runs differ, with both values."""
    for read in alike:
        left, right = known(a, read), known(b, read)
        if left is right:
            continue
        for name in {**left, **right}:
            if left.get(name) != right.get(name):
                both = (text_of(side.get(name, absent(name))) for side in (left, right))
                return f"{name} differs ({', '.join(both)})"
    return None
