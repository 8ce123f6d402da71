"""A line across a picture that says what a number means: chance, the ceiling of order-blind methods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from petl_bench.report.figure import PALE, RULE, SMALL, in_points, text_size
from petl_bench.report.labels import Box, Point

_STARTS = 9  # places of the text along the line


def draw_reference(axes: Axes, value: float | None, text: str, taken: Sequence[Point]) -> list[Box]:
    """A horizontal line with its text where the least is in the way: above it rather than below, left rather than
    right. The layout must be settled.

    Args:
        value: where the line is; None writes the text alone, at the foot of the axes.
        text: what it is.
        taken: places of what is drawn, in points from the figure's lower left corner; of lines, many along them.

    Returns:
        the room that the text and the line take.
    """
    at = axes.get_ylim()[0] if value is None else value
    (left, y), (right, _) = (in_points(axes, x, at) for x in axes.get_xlim())
    width, height = text_size(text, SMALL)

    def covered(place: Point) -> int:
        x0, y0 = place
        return sum(x0 - 4 <= x <= x0 + width + 4 and y0 - 5 <= z <= y0 + height + 5 for x, z in taken)

    starts = [left + 4 + k / (_STARTS - 1) * (right - left - width - 8) for k in range(_STARTS)]
    sides = (2.0,) if value is None else (2.0, -height - 2.0)
    x0, y0 = min(((x, y + up) for up in sides for x in starts), key=covered)
    axes.annotate(
        text,
        (axes.get_xlim()[0], at),
        xytext=(x0 - left, y0 - y + height * 0.15),
        textcoords="offset points",
        fontsize=SMALL,
        color=PALE,
        zorder=4,
    )
    room = [Box(x0, y0 - 1, x0 + width, y0 + height)]
    if value is not None:
        axes.axhline(value, color=RULE, lw=1.0, ls=(0, (4, 3)), zorder=1)
        room.append(Box(left, y - 1, right, y + 1))
    return room


def along(axes: Axes, xs: Sequence[float], ys: Sequence[float], steps: int = 24) -> list[Point]:
    """Places along a line through data points, `steps` of each piece. The layout must be settled."""
    corners = [in_points(axes, x, y) for x, y in zip(xs, ys, strict=True)]
    between = [
        (a[0] + k / steps * (b[0] - a[0]), a[1] + k / steps * (b[1] - a[1]))
        for a, b in pairwise(corners)
        for k in range(steps)
    ]
    return [*between, *corners[-1:]]
