"""The Pareto front of accuracy against a cost."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which (cost, accuracy) points no other point beats.

    A point is dominated when another costs no more and is no worse, and is better in one of the two.
    Equal points are both on the front.

    Returns:
        indices of the front, by rising cost (then in the order given).
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    front: list[int] = []
    for i in order:
        cost, accuracy = points[i]
        if not front or accuracy > points[front[-1]][1] or (cost, accuracy) == points[front[-1]]:
            front.append(i)
    return front
