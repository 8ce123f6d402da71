"""Frames to network inputs, on uint8: one random crop and flip for a training clip, fixed crops for tests.

`T` frames, `H` x `W` pixels of the video, `S` x `S` of the network. Resizing is bilinear with antialiasing.
Frames come as (T, 3, H, W); the layout (T, H, W, 3) in memory is the fast one and is kept where it is found.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.dataset_config import Augment

CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop


def train_view(frames: Tensor, augment: Augment, size: int, rng: np.random.Generator) -> Tensor:
    """An augmented training clip: the same crop and flip for every frame.

    Args:
        frames: (T, 3, H, W) uint8.
        size: S, pixels.
        rng: draws the crop and the flip, always in this order.

    Returns:
        (T, 3, S, S) uint8.
    """
    height, width = frames.shape[-2:]
    if augment.crop == "jitter":
        short = max(size, round(size * rng.uniform(*augment.jitter)))
        frames = resize_short_side(frames, short)
        height, width = frames.shape[-2:]
        top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        frames = frames[..., top : top + size, left : left + size]
    else:
        top, left, h, w = resized_crop(height, width, augment, rng)
        frames = resize(frames[..., top : top + h, left : left + w], size, size)
    flip = rng.random() < 0.5
    return frames.flip(-1) if augment.flip and flip else frames


def resized_crop(
    height: int, width: int, augment: Augment, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """The box of RandomResizedCrop (Szegedy et al. 2014; torchvision's rules for boxes that do not fit).

    Returns:
        top, left, height, width, pixels.
    """
    low, high = augment.ratio
    for _ in range(CROP_ATTEMPTS):
        area = height * width * rng.uniform(*augment.scale)
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    ratio = min(max(width / height, low), high)  # of the largest centred box that is allowed
    h, w = min(height, max(1, round(width / ratio))), min(width, max(1, round(height * ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def spatial_views(frames: Tensor, size: int, spatial: int) -> Tensor:
    """The spatial test views: short side to `size`, then one centre crop or three along the long side.

    Args:
        frames: (T, 3, H, W) uint8.
        size: S, pixels.
        spatial: 1 or 3 (first end, centre, other end).

    Returns:
        (spatial, T, 3, S, S) uint8.
    """
    frames = resize_short_side(frames, size)
    height, width = frames.shape[-2:]
    views = []
    for share in (0.0, 0.5, 1.0) if spatial == 3 else (0.5,):
        # share 0.5 on the short side moves nothing: it has no room
        top, left = int((height - size) * share), int((width - size) * share)
        views.append(frames[..., top : top + size, left : left + size])
    return torch.stack(views)


def resize_short_side(frames: Tensor, short: int) -> Tensor:
    """Frames scaled so that the shorter side has `short` pixels, the other in proportion (rounded down)."""
    height, width = frames.shape[-2:]
    if height <= width:
        return resize(frames, short, max(short, width * short // height))
    return resize(frames, max(short, height * short // width), short)


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Frames at another size; the frames themselves when they have it."""
    if frames.shape[-2:] == (height, width):
        return frames
    return functional.interpolate(frames, (height, width), mode="bilinear", antialias=True)
