"""Signed distances of the shapes, computed once on a grid and then sampled.

A table of distances makes every shape cost the same and lets a batch mix shapes without branches.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from petl_bench.synth.palette import SHAPES

Array = npt.NDArray[np.float64]

EXTENT: Final = 1.6
"""The table covers [-EXTENT, EXTENT] in both axes, in units of an object's radius; y points up."""
RESOLUTION: Final = 65

# Centre height and radius of the mark, inside the shape and off its centre of rotation: it makes the
# turning of a circle visible.
MARKS: Final[dict[str, tuple[float, float]]] = {
    "circle": (0.50, 0.30),
    "square": (0.45, 0.30),
    "triangle": (0.35, 0.28),
    "star": (0.42, 0.25),
    "ring": (0.72, 0.30),
    "cross": (0.68, 0.28),
    "diamond": (0.50, 0.25),
    "heart": (0.30, 0.28),
}


def polygon(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape of radius 1, upright; circle and ring have none."""
    if shape == "square":
        return [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)]
    if shape == "triangle":
        return [(1.2 * math.sin(2 * math.pi * k / 3), 1.2 * math.cos(2 * math.pi * k / 3)) for k in range(3)]
    if shape == "star":
        radii = [1.2 if k % 2 == 0 else 0.52 for k in range(10)]
        return [(r * math.sin(math.pi * k / 5), r * math.cos(math.pi * k / 5)) for k, r in enumerate(radii)]
    if shape == "cross":
        w, e = 0.34, 1.05
        quarter = [(w, e), (w, w), (e, w), (e, -w), (w, -w), (w, -e)]
        return quarter + [(-x, -y) for x, y in quarter]
    if shape == "diamond":
        return [(0.0, 1.25), (0.68, 0.0), (0.0, -1.25), (-0.68, 0.0)]
    if shape == "heart":
        angles = [2 * math.pi * k / 48 for k in range(48)]
        return [
            (
                1.05 * math.sin(t) ** 3,
                0.07 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
                + 0.15,
            )
            for t in angles
        ]
    return []


def signed_distance(shape: str, x: Array, y: Array) -> Array:
    """Distance of points to the outline of a shape of radius 1, negative inside.

    Args:
        shape: one of `palette.SHAPES`.
        x, y: coordinates in units of the radius, any one shape of array.
    """
    if shape == "circle":
        return np.asarray(np.hypot(x, y) - 0.95)
    if shape == "ring":
        return np.asarray(np.abs(np.hypot(x, y) - 0.75) - 0.24)
    corners = polygon(shape)
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * ex, y - ay - along * ey))
        if ay != by:
            # even-odd rule: count the edges that a ray to the right crosses
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) / (by - ay) * ex)
    return np.where(inside, -nearest, nearest)


@functools.lru_cache(maxsize=8)
def table(device: torch.device) -> torch.Tensor:
    """Distances to every shape and to its mark.

    Returns:
        float32 (shapes, 2, RESOLUTION, RESOLUTION); channel 0 the outline, 1 the mark; rows from low y
        to high y.
    """
    axis = np.linspace(-EXTENT, EXTENT, RESOLUTION)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    layers = []
    for shape in SHAPES:
        height, radius = MARKS[shape]
        layers.append(np.stack([signed_distance(shape, x, y), np.hypot(x, y - height) - radius]))
    return torch.from_numpy(np.stack(layers).astype(np.float32)).to(device)
