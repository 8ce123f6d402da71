"""Frames to network inputs, on uint8: one random augmentation for a training clip, fixed crops for tests.

`T` frames, `H` x `W` pixels of the video, `S` x `S` of the network. Frames come as (T, 3, H, W); the layout
(T, H, W, 3) in memory is the fast one and is kept where it is found.

The order is that of the official ST-Adapter code (linziyi96/st-adapter, bded03c, video_dataset/dataset.py):
RandAugment on whole frames, crop and resize, flip, normalisation. It differs in two places. Frames are resized as 8
bit and normalised on the device; there they are normalised first and resized as floats. So pixels are rounded here,
and cut off at 0 and 255, after each of the two passes of a resize, along the width and along the height: what bicubic
adds beyond black and white at an edge is lost, there it is kept. A crop of `jitter` may lie anywhere; there the last
row and column of places is never drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.data.randaugment import Applied, apply, draw
from petl_bench.dataset_config import Augment
from petl_bench.randaugment_policy import parse_policy

Interpolation = Literal["bilinear", "bicubic"]

CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop


@dataclass(frozen=True)
class Draw:
    """What chance decided for a training clip, whoever carries it out: `transform` here, or the training device.

    operations: of RandAugment, on whole frames.
    resized: height and width that whole frames are then brought to, for `crop: jitter`.
    box: of the crop: top, left, height, width, pixels; of the resized frames where they are.
    flip: left for right, in the end.
    """

    operations: tuple[Applied, ...]
    resized: tuple[int, int] | None
    box: tuple[int, int, int, int]
    flip: bool


def draw_view(height: int, width: int, augment: Augment, size: int, rng: np.random.Generator) -> Draw:
    """Draw the augmentation of a clip.

    Args:
        height, width: of its frames, pixels.
        size: S, pixels.
        rng: draws the crop, the flip and RandAugment, always in this order: what is turned on later in the list
            changes nothing of what comes before.
    """
    resized = None
    if augment.crop == "jitter":
        low, high = (round(size * share) for share in augment.jitter)
        resized = short_side(height, width, round(rng.uniform(low, high)))
        top, left = (int(rng.integers(side - size + 1)) for side in resized)
        box = (top, left, size, size)
    else:
        box = resized_crop(height, width, augment, rng)
    flip = bool(rng.random() < 0.5)
    operations = () if augment.randaugment is None else draw(parse_policy(augment.randaugment), rng)
    return Draw(operations, resized, box, augment.flip and flip)


def transform(frames: Tensor, drawn: Draw, size: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """The clip after what was drawn for it: (T, 3, H, W) uint8 to (T, 3, S, S) uint8."""
    frames = apply(frames, drawn.operations)
    if drawn.resized is not None:
        frames = resize(frames, *drawn.resized, interpolation)
    top, left, h, w = drawn.box
    frames = resize(frames[..., top : top + h, left : left + w], size, size, interpolation)
    return frames.flip(-1) if drawn.flip else frames


def train_view(
    frames: Tensor,
    augment: Augment,
    size: int,
    rng: np.random.Generator,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """An augmented training clip: the same operations, crop and flip for every frame.

    Args:
        frames: (T, 3, H, W) uint8.
        size: S, pixels.
        rng: see `draw_view`.

    Returns:
        (T, 3, S, S) uint8.
    """
    drawn = draw_view(frames.shape[-2], frames.shape[-1], augment, size, rng)
    return transform(frames, drawn, size, interpolation)


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


def spatial_views(
    frames: Tensor, size: int, spatial: int, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """The spatial test views: short side to `size`, then one centre crop or three along the long side.

    Args:
        frames: (T, 3, H, W) uint8.
        size: S, pixels.
        spatial: 1 or 3 (first end, centre, other end).

    Returns:
        (spatial, T, 3, S, S) uint8.
    """
    height, width = short_side(frames.shape[-2], frames.shape[-1], size)
    frames = resize(frames, height, width, interpolation)
    corners = view_corners(height, width, size, spatial)
    return torch.stack([frames[..., top : top + size, left : left + size] for top, left in corners])


def view_corners(height: int, width: int, size: int, spatial: int) -> list[tuple[int, int]]:
    """Top and left of the spatial test views in frames of a height and width, the shorter of which is `size`."""
    shares = (0.0, 0.5, 1.0) if spatial == 3 else (0.5,)
    # share 0.5 on the short side moves nothing: it has no room
    return [(int((height - size) * share), int((width - size) * share)) for share in shares]


def short_side(height: int, width: int, short: int) -> tuple[int, int]:
    """Height and width with `short` pixels on the shorter side, the other in proportion (rounded down)."""
    if height <= width:
        return short, max(short, width * short // height)
    return max(short, height * short // width), short


def resize(frames: Tensor, height: int, width: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Frames at another size; the frames themselves when they have it.

    bilinear: with antialiasing, as torchvision. bicubic: without, and with PyTorch's kernel, a = -0.75, both as the
    official code; in 8 bit, which it is not (see above).
    """
    if frames.shape[-2:] == (height, width):
        return frames
    antialias = interpolation == "bilinear"
    return functional.interpolate(frames, (height, width), mode=interpolation, antialias=antialias)
