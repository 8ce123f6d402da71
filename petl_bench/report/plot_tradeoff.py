"""Accuracy against a cost: one point per row, the Pareto front as a step line, dominated rows pale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from petl_bench.report.chance import ahead, clips_tested, close, listed, none_above_chance
from petl_bench.report.collect import VARIANT, Comparison, Row
from petl_bench.report.figure import (
    FONT,
    PALE,
    RULE,
    SMALL,
    Colors,
    in_points,
    new_figure,
    readable,
    settle,
    text_size,
    title,
)
from petl_bench.report.labels import Box, Point, place_if_free, place_labels
from petl_bench.report.measure import count, digits
from petl_bench.report.pareto import pareto_front
from petl_bench.report.reference import along, draw_reference
from petl_bench.report.tradeoff_axes import Price, accuracy_axis, cost_axis

PARAMETERS = Price(
    "trainable_params_without_head", "trained parameters, head not counted", count, "trained parameters"
)
COMPUTE = Price(
    "compute_seconds", "training compute of the method itself, seconds", digits, "s of training compute"
)
MOST_NAMES = 16  # rows; with more, a dominated row is named only where there is room


def tradeoff(comparison: Comparison, price: Price, colors: Colors) -> Figure:
    """The picture of a comparison that has rows."""
    rows = comparison.rows
    points = [(row.cost[price.key].mean, row.top1.mean) for row in rows]
    front = pareto_front(points)
    figure = new_figure(5.0 if len(rows) <= MOST_NAMES else 6.5)
    title(figure, headline(comparison, price), _how(rows))
    axes = figure.add_subplot()
    axes.set_xlabel(price.axis)
    axes.set_ylabel("test top-1, %")
    cost_axis(axes, [x for x, _ in points], price)
    references = accuracy_axis(axes, comparison, rows)
    _key(axes, rows)
    settle(figure)

    steps = _steps(axes, [points[i] for i in front])
    xs, ys = zip(*steps, strict=True)
    axes.plot(xs, ys, color=RULE, lw=1.4, zorder=2, solid_joinstyle="round")
    taken = along(axes, xs, ys)
    for row, point in zip(rows, points, strict=True):
        taken += _bar(axes, row, *point)
    obstacles = [box for line in references for box in draw_reference(axes, line.top1, line.text, taken)]
    for i, row in enumerate(rows):
        obstacles += _point(axes, row, *points[i], colors[row.label][0], pale=i not in front)
    obstacles += _segments(axes, steps)
    # the front's names choose their places first
    name = _variant if len({row.stem for row in rows}) == 1 else _label
    ahead = [(rows[i], points[i]) for i in front]
    behind = [(rows[i], points[i]) for i in range(len(rows)) if i not in front]
    if len(rows) <= MOST_NAMES:
        _names(axes, [*ahead, *behind], obstacles, colors, name)
    else:
        _names(axes, ahead, obstacles, colors, name)
        _names(axes, behind, obstacles, colors, name, crowded=True)
    return figure


def _label(row: Row) -> str:
    return row.label


def _variant(row: Row) -> str:
    """What tells a row from others of the same method."""
    return row.label.removeprefix(f"{row.stem}{VARIANT}")


def headline(comparison: Comparison, price: Price) -> str:
    """The picture in a sentence: who is ahead, and who gets within its standard deviation for less.

    Nobody is where none is above chance, or where few test clips cannot tell.
    """
    dataset, rows = comparison.name, comparison.rows
    if nothing := none_above_chance(rows, comparison.chance):
        return f"{dataset}: {nothing}"
    best = max(rows, key=lambda r: (r.top1.mean, -r.cost[price.key].mean))

    def cost(row: Row) -> str:
        return f"{price.show(row.cost[price.key].mean)} {price.phrase}"

    if best.top1.std is not None:
        # of the best: a row whose seeds scatter widely is not near for that
        reach = [r for r in rows if best.top1.mean - r.top1.mean <= best.top1.std]
        cheapest = min(reach, key=lambda r: r.cost[price.key].mean)
        if cheapest.cost[price.key].mean < best.cost[price.key].mean:
            return (
                f"{dataset}: {cheapest.label} comes within the standard deviation of {best.label} "
                f"({cheapest.top1.mean:.1f} and {best.top1.mean:.1f} % top-1) "
                f"with {cost(cheapest)} instead of {price.show(best.cost[price.key].mean)}"
            )
    tops = {r.label: r.top1.mean for r in rows}
    first = ahead(tops, clips_tested(rows))
    if undecided := close(tops, first):
        return f"{dataset}: {undecided}"
    if len(first) > 1:
        return f"{dataset}: {listed(first)} share the highest top-1, {best.top1.mean:.1f} %"
    if len(rows) == 1:
        return f"{dataset}: {best.label} reaches {best.top1.mean:.1f} % top-1 with {cost(best)}"
    return f"{dataset}: {best.label} has the highest top-1, {best.top1.mean:.1f} %, with {cost(best)}"


def _how(rows: Sequence[Row]) -> str:
    counts = sorted({row.n for row in rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = f"Means over {seeds} seeds, bars: one standard deviation. "
    if counts == [1]:
        text = "One seed each: the spread is not known. "
    if len(rows) > 1:
        text += "Step line: Pareto front; pale: dominated" + (
            ", named where there is room." if len(rows) > MOST_NAMES else "."
        )
    return text


def _key(axes: Axes, rows: Sequence[Row]) -> None:
    """What the two markers mean, above the axes, where both are there."""
    if len({row.order_blind for row in rows}) < 2:
        return
    sees = Line2D([], [], ls="", marker="D", ms=6.5, mfc=PALE, mec=PALE)
    blind = Line2D([], [], ls="", marker="o", ms=7.5, mfc="white", mec=PALE, mew=1.6)
    texts = ["sees the order of frames", "order-blind by construction"]
    axes.legend(
        [sees, blind],
        texts,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=2,
        borderpad=0.2,
        borderaxespad=0.3,
        handletextpad=0.2,
        fontsize=SMALL,
        frameon=False,
    )


def _bar(axes: Axes, row: Row, x: float, y: float) -> list[Point]:
    """Places of a point and of the ends of its bar."""
    return [in_points(axes, x, y + end) for end in (0.0, -(row.top1.std or 0.0), row.top1.std or 0.0)]


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


def _names(
    axes: Axes,
    rows: Sequence[tuple[Row, tuple[float, float]]],
    obstacles: list[Box],
    colors: Colors,
    name: Callable[[Row], str],
    crowded: bool = False,
) -> None:
    """Names beside their points; they join the obstacles. Crowded: none where it would cover something."""
    anchors = [in_points(axes, *point) for _, point in rows]
    texts = {row.label: name(row) for row, _ in rows}
    sizes = [text_size(texts[row.label], FONT) for row, _ in rows]
    (left, bottom), (right, top) = (in_points(axes, axes.get_xlim()[k], axes.get_ylim()[k]) for k in (0, 1))
    bounds = Box(left + 2, bottom + 2, right, top + 4)
    place = place_if_free if crowded else place_labels
    for (row, point), anchor, box in zip(
        rows, anchors, place(anchors, sizes, obstacles, bounds), strict=True
    ):
        if box is None:
            continue
        obstacles.append(box)
        far = max(box.x0 - anchor[0], anchor[0] - box.x1, box.y0 - anchor[1], anchor[1] - box.y1) > 11
        axes.annotate(
            texts[row.label],
            point,
            xytext=((box.x0 + box.x1) / 2 - anchor[0], (box.y0 + box.y1) / 2 - anchor[1]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=FONT,
            color=readable(colors[row.label][0]),
            arrowprops={"arrowstyle": "-", "color": RULE, "lw": 0.7, "shrinkB": 5} if far else None,
            zorder=5,
        )
