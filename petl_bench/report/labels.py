"""Where labels stand in a plot: beside their points, over nothing else. In points (1/72 inch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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


# right first, as one reads; then above and below, the diagonals, left
_DIRECTIONS = ((1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1))
_RINGS = (0.0, 8.0, 18.0, 30.0, 44.0, 60.0, 80.0)
_SWEEPS = 3


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
    gap: float = 9.0,
) -> list[Box]:
    """A place for each label near its anchor, clear of the other labels, of the obstacles and of the border.

    Greedy in the order given, then a few sweeps in which each label looks for a better place given all the
    others. Where there is no free place, the one that covers least.

    Args:
        anchors: the labelled points.
        sizes: width and height of each label.
        obstacles: markers, error bars, lines and other texts.
        bounds: labels stay within.
        gap: distance of a label from its anchor.

    Returns:
        one box per label.
    """
    candidates = [_candidates(a, s, gap) for a, s in zip(anchors, sizes, strict=True)]
    fixed = [
        [
            cost + 40.0 * box.outside(bounds) + 4.0 * sum(box.overlap(o) for o in obstacles)
            for cost, box in options
        ]
        for options in candidates
    ]
    chosen: list[Box | None] = [None] * len(anchors)
    for _ in range(_SWEEPS):
        for i, options in enumerate(candidates):
            others = [box.grown(1.0) for j, box in enumerate(chosen) if box is not None and j != i]
            costs = [
                c + 8.0 * sum(box.overlap(o) for o in others)
                for c, (_, box) in zip(fixed[i], options, strict=True)
            ]
            chosen[i] = options[costs.index(min(costs))][1]
    return [box for box in chosen if box is not None]


def _candidates(
    anchor: tuple[float, float], size: tuple[float, float], gap: float
) -> list[tuple[float, Box]]:
    (x, y), (w, h) = anchor, size
    out = []
    for ring in _RINGS:
        for preference, (dx, dy) in enumerate(_DIRECTIONS):
            # diagonals start nearer: their corner is what faces the point
            reach = gap * (0.6 if dx and dy else 1.0) + ring
            cx, cy = x + dx * (reach + w / 2), y + dy * (reach + h / 2)
            out.append((3.0 * ring + 1.5 * preference, Box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)))
    return out


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as possible (least squares) so that neighbours are `gap` apart.

    Pool-adjacent-violators on `position - rank * gap`, exact. The result stays within [low, high] where all
    fit; where they don't, the gap shrinks so that they do.
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
    flat = [total / members for total, members in pools for _ in range(members)]
    out = [0.0] * n
    for rank, i in enumerate(order):
        start = min(max(flat[rank], low), high - (n - 1) * gap)
        out[i] = start + rank * gap
    return out
