"""Where labels stand in a plot: beside their points, over nothing else. In points (1/72 inch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]

# right first, as one reads; then above and below, the diagonals, left
_DIRECTIONS = ((1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1))
_RINGS = (0.0, 8.0, 18.0, 30.0, 44.0, 60.0, 80.0)
_SWEEPS = 3
_GAP = 9.0  # from a point to its label
_NEAR = 16.0  # points that are closer than this may be taken for each other
# what a place costs: per square point covered or outside; per exchange of neighbours
_OUTSIDE, _COVERED, _OVER_LABEL, _EXCHANGED = 40.0, 4.0, 8.0, 30.0


@dataclass(frozen=True)
class Box:
    """A rectangle, lower left and upper right corner."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: Box) -> float:
        """Area that both cover."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        return w * h if w > 0 and h > 0 else 0.0

    def outside(self, bounds: Box) -> float:
        """Area that lies outside of `bounds`."""
        return (self.x1 - self.x0) * (self.y1 - self.y0) - self.overlap(bounds)

    def grown(self, by: float) -> Box:
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)


def place_labels(
    anchors: Sequence[Point], sizes: Sequence[Point], obstacles: Sequence[Box], bounds: Box
) -> list[Box | None]:
    """A place for each label near its anchor, clear of the other labels, of the obstacles and of the border.

    Greedy in the order given, then a few sweeps in which each label looks for a better place given all the
    others. Where there is no free place, the one that covers least. The labels of two points that nearly
    coincide stand in the order of the points. The same input gives the same places.

    Args:
        anchors: the labelled points.
        sizes: width and height of each label.
        obstacles: markers, error bars, lines and other texts.
        bounds: labels stay within.

    Returns:
        one box per label (never None; see `place_if_free`).
    """
    candidates = [_candidates(a, s) for a, s in zip(anchors, sizes, strict=True)]
    fixed = [[cost + _cover(box, obstacles, bounds) for cost, box in options] for options in candidates]
    chosen: list[Box | None] = [None] * len(anchors)
    for _ in range(_SWEEPS):
        for i, options in enumerate(candidates):
            others = [
                (a, b)
                for j, (a, b) in enumerate(zip(anchors, chosen, strict=True))
                if b is not None and j != i
            ]
            costs = [
                cost + sum(_disturb(anchors[i], box, a, b) for a, b in others)
                for cost, (_, box) in zip(fixed[i], options, strict=True)
            ]
            chosen[i] = options[costs.index(min(costs))][1]
    return chosen


def place_if_free(
    anchors: Sequence[Point], sizes: Sequence[Point], obstacles: Sequence[Box], bounds: Box
) -> list[Box | None]:
    """Like `place_labels` for crowded pictures: only right beside the point, and None where that is taken."""
    taken = list(obstacles)
    out: list[Box | None] = []
    for anchor, size in zip(anchors, sizes, strict=True):
        near = [box for _, box in _candidates(anchor, size)[: len(_DIRECTIONS)]]
        box = next((b for b in near if _cover(b.grown(1.0), taken, bounds) == 0), None)
        taken += [box] if box else []
        out.append(box)
    return out


def _cover(box: Box, obstacles: Sequence[Box], bounds: Box) -> float:
    return _OUTSIDE * max(0.0, box.outside(bounds)) + _COVERED * sum(box.overlap(o) for o in obstacles)


def _disturb(a: Point, box_a: Box, b: Point, box_b: Box) -> float:
    """How much two labels stand in each other's way, by lying on top or by each seeming the other's."""
    close = abs(a[0] - b[0]) < _NEAR and abs(a[1] - b[1]) < _NEAR
    exchanged = close and (a[1] - b[1]) * (box_a.y0 - box_b.y0) < 0
    return _OVER_LABEL * box_a.overlap(box_b.grown(1.0)) + _EXCHANGED * exchanged


def _candidates(anchor: Point, size: Point) -> list[tuple[float, Box]]:
    (x, y), (w, h) = anchor, size
    out = []
    for ring in _RINGS:
        for preference, (dx, dy) in enumerate(_DIRECTIONS):
            # diagonals start nearer: their corner is what faces the point
            reach = _GAP * (0.6 if dx and dy else 1.0) + ring
            cx, cy = x + dx * (reach + w / 2), y + dy * (reach + h / 2)
            cost = 3.0 * ring + 1.5 * preference
            out.append((cost, Box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)))
    return out


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as possible (least squares) so that neighbours are `gap` apart.

    Pool-adjacent-violators on `position - rank * gap`, exact; then moved into [low, high]. Where not all fit,
    the gap shrinks so that they do.
    """
    n = len(positions)
    if n == 0:
        return []
    gap = min(gap, (high - low) / (n - 1)) if n > 1 else gap
    order = sorted(range(n), key=lambda i: (positions[i], i))
    pools: list[tuple[float, int]] = []  # (sum, count) of what has been pooled, means rising
    for rank, i in enumerate(order):
        total, members = positions[i] - rank * gap, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / members:
            total, members = total + pools[-1][0], members + pools[-1][1]
            pools.pop()
        pools.append((total, members))
    starts = [total / members for total, members in pools for _ in range(members)]
    out = [0.0] * n
    for rank, i in enumerate(order):
        out[i] = min(max(starts[rank], low), high - (n - 1) * gap) + rank * gap
    return out
