"""RandAugment for clips: operations, strengths and signs are drawn once and applied to every frame.

As in the official ST-Adapter code (linziyi96/st-adapter, bded03c, video_dataset/rand_augment.py, after timm): the same
15 operations, whole frames before the crop, bicubic interpolation, grey (128) where a frame has moved away. The
operations run in Pillow, frame by frame, as there; shears and translations, which are slow in Pillow, in `warp.py`.
The pixels are Pillow's, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from petl_bench.data.warp import Pixels, shift_columns, shift_rows
from petl_bench.randaugment_policy import Policy

LEVELS = 10  # a magnitude is counted in tenths of an operation's range
GREY = 128
SHEAR = 0.3  # largest, pixels for each pixel
ROTATE = 30  # largest, degrees
TRANSLATE = 0.45  # largest shift, in widths or heights of the frame
BICUBIC = Image.Resampling.BICUBIC

Picture = Image.Image


@dataclass(frozen=True)
class Applied:
    """One drawn operation: its name and its magnitude in 0..maximum; `negative` turns the sign of what has one."""

    name: str
    magnitude: float
    negative: bool

    @property
    def level(self) -> float:
        """The magnitude as a share of the operation's range, 0..1; above 1 only with mmax."""
        return self.magnitude / LEVELS

    @property
    def sign(self) -> float:
        return -1.0 if self.negative else 1.0


def draw(policy: Policy, rng: np.random.Generator) -> tuple[Applied, ...]:
    """The operations for a clip, in their order; how many numbers it takes from `rng` depends on `policy` alone."""
    names = NAMES[policy.increasing]
    drawn = []
    for _ in range(policy.operations):
        name = names[int(rng.integers(len(names)))]
        applied = rng.random() < policy.probability
        uniform, normal = rng.random(), rng.standard_normal()
        negative = bool(rng.random() < 0.5)
        if math.isinf(policy.deviation):
            magnitude = uniform * policy.magnitude
        else:
            magnitude = policy.magnitude + policy.deviation * normal
        if applied:
            drawn.append(Applied(name, min(max(magnitude, 0.0), policy.maximum), negative))
    return tuple(drawn)


def apply(frames: Tensor, operations: tuple[Applied, ...]) -> Tensor:
    """The frames after the operations, one after the other.

    Args:
        frames: (T, 3, H, W) uint8.

    Returns:
        (T, 3, H, W) uint8, (T, H, W, 3) in memory; the frames themselves where there is nothing to do.
    """
    if not operations:
        return frames
    pixels = np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())
    for drawn in operations:
        level, sign = drawn.level, drawn.sign
        if drawn.name in WARPS:
            pixels = WARPS[drawn.name](pixels, level, sign)
        else:
            operation = OPERATIONS[drawn.name in OPERATIONS[True]][drawn.name]
            pixels = np.stack([np.asarray(operation(Image.fromarray(f), level, sign)) for f in pixels])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


# Below, `level` and `sign` are those of an `Applied`.

Operation = Callable[[Picture, float, float], Picture]


def _auto_contrast(picture: Picture, level: float, sign: float) -> Picture:
    return ImageOps.autocontrast(picture)


def _equalize(picture: Picture, level: float, sign: float) -> Picture:
    return ImageOps.equalize(picture)


def _invert(picture: Picture, level: float, sign: float) -> Picture:
    return ImageOps.invert(picture)


def _posterize(picture: Picture, level: float, sign: float) -> Picture:
    return _keep_bits(picture, int(level * 4))


def _posterize_increasing(picture: Picture, level: float, sign: float) -> Picture:
    return _keep_bits(picture, 4 - int(level * 4))


def _keep_bits(picture: Picture, bits: int) -> Picture:
    # not ImageOps.posterize: of no bits it made black in older versions of Pillow and an error in newer ones
    mask = 256 - 2 ** (8 - min(max(bits, 0), 8))
    return picture.point([i & mask for i in range(256)] * 3)


def _solarize(picture: Picture, level: float, sign: float) -> Picture:
    return ImageOps.solarize(picture, min(256, int(level * 256)))


def _solarize_increasing(picture: Picture, level: float, sign: float) -> Picture:
    return ImageOps.solarize(picture, 256 - min(256, int(level * 256)))


def _solarize_add(picture: Picture, level: float, sign: float) -> Picture:
    more = min(128, int(level * 110))
    return picture.point([min(255, i + more) if i < 128 else i for i in range(256)] * 3)


def _rotate(picture: Picture, level: float, sign: float) -> Picture:
    return picture.rotate(sign * level * ROTATE, resample=BICUBIC, fillcolor=(GREY, GREY, GREY))


def _middles(count: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) + 0.5


def _shear_x(pixels: Pixels, level: float, sign: float) -> Pixels:
    return shift_rows(pixels, sign * level * SHEAR * _middles(pixels.shape[1]), GREY)


def _shear_y(pixels: Pixels, level: float, sign: float) -> Pixels:
    return shift_columns(pixels, sign * level * SHEAR * _middles(pixels.shape[2]), GREY)


def _translate_x(pixels: Pixels, level: float, sign: float) -> Pixels:
    _, height, width, _ = pixels.shape
    return shift_rows(pixels, np.full(height, sign * level * TRANSLATE * width), GREY)


def _translate_y(pixels: Pixels, level: float, sign: float) -> Pixels:
    _, height, width, _ = pixels.shape
    return shift_columns(pixels, np.full(width, sign * level * TRANSLATE * height), GREY)


def factor(level: float) -> float:
    """0 takes a property away, 1 leaves the frame as it is, 2 doubles it; the range is 0.1 to 1.9."""
    return level * 1.8 + 0.1


def factor_increasing(level: float, sign: float) -> float:
    """As `factor`, counted from 1, which changes nothing, up or down."""
    return max(0.1, 1.0 + sign * level * 0.9)


def _enhance(make: Callable[[Picture], ImageEnhance._Enhance]) -> Operation:
    return lambda picture, level, sign: make(picture).enhance(factor(level))


def _enhance_increasing(make: Callable[[Picture], ImageEnhance._Enhance]) -> Operation:
    return lambda picture, level, sign: make(picture).enhance(factor_increasing(level, sign))


WARPS: Mapping[str, Callable[[Pixels, float, float], Pixels]] = {  # of all frames at once
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateXRel": _translate_x,
    "TranslateYRel": _translate_y,
}
_BOTH: dict[str, Operation] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "SolarizeAdd": _solarize_add,
}
OPERATIONS: Mapping[
    bool, Mapping[str, Operation]
] = {  # of one frame: whether they increase -> name -> operation
    True: _BOTH
    | {
        "PosterizeIncreasing": _posterize_increasing,
        "SolarizeIncreasing": _solarize_increasing,
        "ColorIncreasing": _enhance_increasing(ImageEnhance.Color),
        "ContrastIncreasing": _enhance_increasing(ImageEnhance.Contrast),
        "BrightnessIncreasing": _enhance_increasing(ImageEnhance.Brightness),
        "SharpnessIncreasing": _enhance_increasing(ImageEnhance.Sharpness),
    },
    False: _BOTH
    | {
        "Posterize": _posterize,
        "Solarize": _solarize,
        "Color": _enhance(ImageEnhance.Color),
        "Contrast": _enhance(ImageEnhance.Contrast),
        "Brightness": _enhance(ImageEnhance.Brightness),
        "Sharpness": _enhance(ImageEnhance.Sharpness),
    },
}
NAMES = {increasing: (*operations, *WARPS) for increasing, operations in OPERATIONS.items()}  # timm's
