"""Pillow's bicubic affine transform on the device that trains, for all frames of several clips at once.

Coordinates and weights are float64 and the operations those of Pillow in its order, none fused with another: on x86
the pixels are Pillow's to the bit, as in `warp.py`. Nothing waits for the device.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from petl_bench.data.randaugment import GREY, ROTATE, SHEAR, TRANSLATE, Applied

Matrix = tuple[float, float, float, float, float, float]
Along = Literal["x", "y", "both"]

ALONG: dict[str, Along] = {  # operation -> the axis on which it moves pixels by parts of a pixel
    "ShearX": "x",
    "TranslateXRel": "x",
    "ShearY": "y",
    "TranslateYRel": "y",
    "Rotate": "both",
}


def matrix_of(drawn: Applied, height: int, width: int) -> Matrix:
    """(a, b, c, d, e, f): pixel (x, y) comes from (a x + b y + c, d x + e y + f), counted from the corner."""
    strength = drawn.sign * drawn.level
    if drawn.name == "ShearX":
        return 1.0, strength * SHEAR, 0.0, 0.0, 1.0, 0.0
    if drawn.name == "ShearY":
        return 1.0, 0.0, 0.0, strength * SHEAR, 1.0, 0.0
    if drawn.name == "TranslateXRel":
        return 1.0, 0.0, strength * TRANSLATE * width, 0.0, 1.0, 0.0
    if drawn.name == "TranslateYRel":
        return 1.0, 0.0, 0.0, 0.0, 1.0, strength * TRANSLATE * height
    # as Pillow's Image.rotate, digit for digit
    angle = -math.radians(strength * ROTATE % 360.0)
    cos, sin, minus = (round(v, 15) for v in (math.cos(angle), math.sin(angle), -math.sin(angle)))
    x, y = width / 2, height / 2
    return cos, sin, cos * -x + sin * -y + x, minus, cos, minus * -x + cos * -y + y


def warp(frames: Tensor, matrices: Tensor, along: Along) -> Tensor:
    """Frames whose pixels come from elsewhere in them, grey where that is outside.

    Args:
        frames: (G, T, 3, H, W) uint8; G clips.
        matrices: (G, 6) float64, on the device of the frames: see `matrix_of`.
        along: the axis that is interpolated; on the other, pixels come from middles of pixels.

    Returns:
        (G, T, 3, H, W) uint8.
    """
    G, T, C, H, W = frames.shape
    xs = torch.arange(W, dtype=torch.float64, device=frames.device) + 0.5
    ys = torch.arange(H, dtype=torch.float64, device=frames.device)[:, None] + 0.5
    a, b, c, d, e, f = (m[:, None, None] for m in matrices.unbind(1))
    x, y = a * xs + b * ys + c, d * xs + e * ys + f  # (G, H, W)
    inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
    columns, dx = _taps(x, W)
    rows, dy = _taps(y, H)
    flat = frames.view(G, T * C, H * W)

    def row(y: Tensor) -> Tensor:  # interpolated along x, in the rows y
        if along == "y":
            return _pixels(flat, y * W + columns[1])
        return _cubic([_pixels(flat, y * W + column) for column in columns], dx.view(G, 1, -1))

    value = row(rows[1]) if along == "x" else _cubic([row(y) for y in rows], dy.view(G, 1, -1))
    moved = value.clamp_(0, 255).to(torch.uint8)  # cut off, not rounded
    return torch.where(inside.view(G, 1, -1), moved, GREY).view(frames.shape)


def _taps(at: Tensor, length: int) -> tuple[list[Tensor], Tensor]:
    """The four places that a coordinate is interpolated from (pixels beyond the edge repeat it), and how far it
    lies behind the second."""
    at = at - 0.5
    first = at.floor()
    places = [(first + tap).clamp_(0, length - 1).to(torch.int64) for tap in (-1, 0, 1, 2)]
    return places, at - first


def _pixels(flat: Tensor, places: Tensor) -> Tensor:
    """(G, planes, H*W) at places (G, H, W), float64."""
    index = places.view(len(flat), 1, -1).expand_as(flat)
    return flat.gather(2, index).double()


def _cubic(v: list[Tensor], d: Tensor) -> Tensor:
    """Pillow's cubic (Geometry.c: a = -1) through four values, in its order of operations."""
    v1, v2, v3, v4 = v
    # v2 + d (v3 - v1 + d (2 (v1 - v2) + v3 - v4 + d (v2 - v1 - v3 + v4)))
    value = (v2 - v1).sub_(v3).add_(v4).mul_(d)
    value = value.add_((v1 - v2).mul_(2).add_(v3).sub_(v4)).mul_(d)
    return value.add_(v3 - v1).mul_(d).add_(v2)
