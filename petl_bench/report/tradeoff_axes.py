"""The axes of an accuracy-against-cost picture: ticks, limits, and the reference lines that belong there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from petl_bench.report.collect import Comparison, Row
from petl_bench.report.measure import digits


@dataclass(frozen=True)
class Price:
    """What accuracy is bought with."""

    key: str  # a field of Cost
    axis: str
    show: Callable[[float], str]  # on the axis and in the title
    phrase: str  # in the title, after the number


@dataclass(frozen=True)
class Reference:
    """A line across the picture, at a top-1 in percent; None: below the axis, and only said so."""

    top1: float | None
    text: str


def cost_axis(axes: Axes, values: Sequence[float], price: Price) -> None:
    """Log axis; methods that cost nothing stand at 0, left of it."""
    positive = [v for v in values if v > 0]
    low, high = min(positive, default=1.0), max(positive, default=10.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high) + 1e-9)
    if min(values) <= 0:
        # linear between 0 and the first decade, which takes as much room as a decade
        threshold = 10.0**first
        axes.set_xscale("symlog", linthresh=threshold, linscale=0.6)
        axes.set_xlim(-0.45 * threshold, high * 4)
        ticks = [0.0, *(10.0**k for k in range(first, last + 1))]
    else:
        axes.set_xscale("log")
        margin = max(1.25, (high / low) ** 0.12)
        axes.set_xlim(low / margin, high * margin**2)
        ticks = _log_ticks(*axes.get_xlim())
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if left <= t <= right]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _tick(v, price)))


def _log_ticks(low: float, high: float) -> list[float]:
    """The coarsest steps within a decade that give at least three ticks."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 2, 3, 5, 7), range(1, 10)):
        ticks = [t for k in exponents for m in steps if low <= (t := m * 10.0**k) <= high]
        if len(ticks) >= 3:
            break
    return ticks


def _tick(value: float, price: Price) -> str:
    if value == 0:
        return "0\n(head only)"
    text = price.show(value)
    number = text.rstrip("kMG")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + text[len(number) :]


def accuracy_axis(axes: Axes, comparison: Comparison, rows: Sequence[Row]) -> list[Reference]:
    """Limits around the data, and around chance and the ceiling where these do not squash the data.

    Returns:
        the reference lines.
    """
    low = min(row.top1.mean - (row.top1.std or 0) for row in rows)
    high = max(row.top1.mean + (row.top1.std or 0) for row in rows)
    found: list[Reference] = []
    below: list[str] = []
    # from near to far, so that a far one does not pull in a farther one's
    for value, name in ((comparison.blind_ceiling, "order-blind ceiling"), (comparison.chance, "chance")):
        if value is None:
            continue
        text = f"{name} {digits(value)} %"
        if low - value <= 1.5 * max(high - low, 10.0):
            found.append(Reference(value, text))
            low, high = min(low, value), max(high, value)
        else:
            below.append(text)
    if below:
        found.append(Reference(None, f"below this axis: {', '.join(below)}"))
    # less than ten points of accuracy are never blown up to the whole height
    margin = max(0.07 * (high - low), (10.0 - (high - low)) / 2, 0.0)
    axes.set_ylim(max(low - margin, -2.0), min(high + margin, 104.0))
    return found
