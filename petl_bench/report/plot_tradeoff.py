"""Accuracy against a cost: one point per row, the Pareto front as a step line, dominated rows pale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from petl_bench.report.collect import Comparison, Row
from petl_bench.report.figure import (
    FONT,
    INK,
    PALE,
    RULE,
    SMALL,
    in_points,
    new_figure,
    settle,
    text_size,
    title,
)
from petl_bench.report.labels import Box, place_labels
from petl_bench.report.measure import count, digits
from petl_bench.report.pareto import pareto_front

Colors = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Price:
    """What accuracy is bought with."""

    key: str  # a field of Cost
    axis: str
    show: Callable[[float], str]  # on the axis
    phrase: str  # in the title, after the number


PARAMETERS = Price(
    "trainable_params_without_head", "trained parameters, head not counted", count, "trained parameters"
)
COMPUTE = Price(
    "compute_seconds", "training compute of the method itself, seconds", digits, "s of training compute"
)


def tradeoff(comparison: Comparison, price: Price, colors: Colors) -> Figure:
    """The picture. Rows without that cost are left out; at least one row must have it."""
    rows = [row for row in comparison.rows if price.key in row.cost]
    points = [(row.cost[price.key].mean, row.top1.mean) for row in rows]
    front = pareto_front(points)
    figure = new_figure(5.0 + max(0, len(rows) - 12) * 0.12)
    title(figure, headline(comparison.dataset, rows, price), _how(rows))
    axes = figure.add_subplot()
    axes.set_xlabel(price.axis)
    axes.set_ylabel("test top-1, %")
    _x_axis(axes, [x for x, _ in points], price)
    notes = _y_axis(axes, comparison, rows)
    _legend(axes, rows)
    settle(figure)

    steps = _steps(axes, [points[i] for i in front])
    axes.plot(
        [x for x, _ in steps], [y for _, y in steps], color=RULE, lw=1.4, zorder=2, solid_joinstyle="round"
    )
    obstacles = [_note(axes, y, text, points) for y, text in notes]
    legend = axes.get_legend()
    if legend is not None:
        box = legend.get_window_extent()
        obstacles.append(Box(*(v * 72 / figure.dpi for v in (box.x0, box.y0, box.x1, box.y1))))
    for i, (row, (x, y)) in enumerate(zip(rows, points, strict=True)):
        obstacles += _point(axes, row, x, y, colors[row.label][0], pale=i not in front)
    obstacles += _segments(axes, steps)
    # the front's labels choose their place first
    order = [*front, *(i for i in range(len(rows)) if i not in front)]
    _labels(axes, [rows[i] for i in order], [points[i] for i in order], len(front), obstacles)
    return figure


def headline(dataset: str, rows: Sequence[Row], price: Price) -> str:
    """The picture in a sentence: who is ahead, and who gets within a standard deviation of it for less."""
    best = max(rows, key=lambda r: (r.top1.mean, -r.cost[price.key].mean))

    def cost(row: Row) -> str:
        return f"{price.show(row.cost[price.key].mean)} {price.phrase}"

    if best.top1.std is not None:
        reach = [r for r in rows if best.top1.mean - r.top1.mean <= max(best.top1.std, r.top1.std or 0.0)]
        cheapest = min(reach, key=lambda r: r.cost[price.key].mean)
        if cheapest.cost[price.key].mean < best.cost[price.key].mean:
            return (
                f"{dataset}: {cheapest.label} comes within a standard deviation of {best.label} "
                f"({cheapest.top1.mean:.1f} and {best.top1.mean:.1f} % top-1) "
                f"with {cost(cheapest)} instead of {price.show(best.cost[price.key].mean)}"
            )
    return f"{dataset}: {best.label} has the highest top-1, {best.top1.mean:.1f} %, with {cost(best)}"


def _how(rows: Sequence[Row]) -> str:
    counts = sorted({row.n for row in rows})
    if counts == [1]:
        return "One seed each: the spread is not known. Step line: Pareto front; pale: dominated."
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"Means over {seeds} seeds, bars: one standard deviation. Step line: Pareto front; pale: dominated."
    )


def _x_axis(axes: Axes, values: Sequence[float], price: Price) -> None:
    """Log axis with ticks at 1, 2, 5 or at decades; methods that cost nothing stand at 0, left of it."""
    positive = [v for v in values if v > 0]
    low = min(positive, default=1.0)
    high = max(positive, default=10.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high) + 1e-9)
    decades = [10.0**k for k in range(first, last + 1)]
    fine = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    if min(values) <= 0:
        # linear between 0 and the first decade, which takes as much room as a decade
        axes.set_xscale("symlog", linthresh=decades[0], linscale=0.6)
        axes.set_xlim(-0.45 * decades[0], high * 4)
        ticks = [0.0, *decades]
    else:
        axes.set_xscale("log")
        margin = max(1.25, (high / low) ** 0.12)
        axes.set_xlim(low / margin, high * margin**2)
        ticks = decades if high / low > 200 else fine
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if left <= t <= right]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _tick(v, price)))


def _tick(value: float, price: Price) -> str:
    text = price.show(value)
    if "." in text:  # 1.00k -> 1k
        number, unit = text.rstrip("kMG"), text[len(text.rstrip("kMG")) :]
        text = number.rstrip("0").rstrip(".") + unit
    return "0\n(head only)" if value == 0 else text


def _y_axis(axes: Axes, comparison: Comparison, rows: Sequence[Row]) -> list[tuple[float, str]]:
    """Limits around the data, the ceiling and, where it does not squash the data, chance.

    Returns:
        the reference lines as (top-1 in percent, text); minus infinity for one below the axis.
    """
    low = min(row.top1.mean - (row.top1.std or 0) for row in rows)
    high = max(row.top1.mean + (row.top1.std or 0) for row in rows)
    notes: list[tuple[float, str]] = []
    ceiling, chance = comparison.blind_ceiling, comparison.chance
    if ceiling is not None:
        notes.append((ceiling, f"order-blind ceiling {digits(ceiling)} %"))
        low, high = min(low, ceiling), max(high, ceiling)
    if chance is not None:
        if low - chance <= 1.5 * max(high - low, 10.0):
            notes.append((chance, f"chance {digits(chance)} %"))
            low = min(low, chance)
        else:
            notes.append((-math.inf, f"chance {digits(chance)} %: below this axis"))
    margin = 0.07 * max(high - low, 2.0)
    axes.set_ylim(max(low - margin, -2.0), high + margin)
    return notes


def _note(axes: Axes, y: float, text: str, points: Sequence[tuple[float, float]]) -> Box:
    """A reference line with its text at the emptier end. Returns the room that the text takes."""
    if y == -math.inf:
        y = axes.get_ylim()[0]
    else:
        axes.axhline(y, color=RULE, lw=1.0, ls=(0, (4, 3)), zorder=1)
    left, right = axes.get_xlim()
    middle = axes.transData.inverted().transform(axes.transAxes.transform((0.5, 0)))[0]
    bottom, top = axes.get_ylim()
    near = [x for x, v in points if abs(v - y) < 0.12 * (top - bottom)]
    at_left = sum(x <= middle for x in near) < sum(x > middle for x in near)
    width, height = text_size(text, SMALL)
    x0, y0 = in_points(axes, left if at_left else right, y)
    axes.annotate(
        text,
        (left if at_left else right, y),
        xytext=(4 if at_left else -4, 2),
        textcoords="offset points",
        ha="left" if at_left else "right",
        va="bottom",
        fontsize=SMALL,
        color=PALE,
    )
    x0 = x0 + 4 if at_left else x0 - 4 - width
    return Box(x0, y0 - 1, x0 + width, y0 + 2 + height)


def _point(axes: Axes, row: Row, x: float, y: float, color: str, pale: bool) -> list[Box]:
    alpha = 0.4 if pale else 1.0
    std = row.top1.std or 0.0
    if std:
        axes.errorbar(x, y, yerr=std, color=color, alpha=alpha, elinewidth=1.3, capsize=3, zorder=3)
    axes.plot(
        [x],
        [y],
        marker="o" if row.order_blind else "D",
        ms=8.5 if row.order_blind else 7.5,
        mfc="white" if row.order_blind else color,
        mec=color,
        mew=1.8,
        alpha=alpha,
        zorder=4,
    )
    px, py = in_points(axes, x, y)
    _, below = in_points(axes, x, y - std)
    _, above = in_points(axes, x, y + std)
    return [Box(px - 5, py - 5, px + 5, py + 5), Box(px - 3, below - 1, px + 3, above + 1)]


def _steps(axes: Axes, front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners of the front: the best accuracy that can be had up to each cost."""
    out: list[tuple[float, float]] = []
    for x, y in front:
        out += [(x, out[-1][1])] if out else []
        out.append((x, y))
    return [*out, (axes.get_xlim()[1], out[-1][1])]


def _segments(axes: Axes, corners: Sequence[tuple[float, float]]) -> list[Box]:
    places = [in_points(axes, x, y) for x, y in corners]
    return [
        Box(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)
        for a, b in pairwise(places)
    ]


def _labels(
    axes: Axes, rows: Sequence[Row], points: Sequence[tuple[float, float]], front: int, obstacles: list[Box]
) -> None:
    anchors = [in_points(axes, x, y) for x, y in points]
    sizes = [text_size(row.label, FONT) for row in rows]
    (left, bottom), (right, top) = (in_points(axes, axes.get_xlim()[k], axes.get_ylim()[k]) for k in (0, 1))
    boxes = place_labels(anchors, sizes, obstacles, Box(left + 2, bottom + 2, right, top + 4))
    for i, (row, point, anchor, box) in enumerate(zip(rows, points, anchors, boxes, strict=True)):
        center = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        far = max(box.x0 - anchor[0], anchor[0] - box.x1, box.y0 - anchor[1], anchor[1] - box.y1) > 11
        axes.annotate(
            row.label,
            point,
            xytext=(center[0] - anchor[0], center[1] - anchor[1]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=FONT,
            fontweight="normal",
            color=INK if i < front else PALE,
            arrowprops={"arrowstyle": "-", "color": RULE, "lw": 0.7, "shrinkA": 0, "shrinkB": 5}
            if far
            else None,
            zorder=5,
        )


def _legend(axes: Axes, rows: Sequence[Row]) -> None:
    """Only where both kinds are there: what the two markers mean."""
    if len({row.order_blind for row in rows}) < 2:
        return
    marks = [
        Line2D([], [], ls="", marker="D", ms=6.5, mfc=PALE, mec=PALE, label="sees the order of frames"),
        Line2D(
            [],
            [],
            ls="",
            marker="o",
            ms=7.5,
            mfc="white",
            mec=PALE,
            mew=1.6,
            label="order-blind by construction",
        ),
    ]
    axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(0.0, 1.0), fontsize=SMALL, frameon=False)
