"""Warps that move pixels along one axis, for all frames of a clip at once: Pillow's bicubic transform, to the bit.

(On x86. A Pillow compiled for other processors may fuse multiplications with additions and differ by a level.)

Pillow interpolates in both directions, pixel by pixel and frame by frame, which would take most of the time of a
training clip. Along one axis the distance of a row's pixels from those that they come from is the same, and one of
the two cubics does nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def shift_rows(pixels: Pixels, shifts: NDArray[np.float64], fill: int) -> Pixels:
    """Frames whose pixel x of row y comes from x + shifts[y]; `fill` where that is outside.

    The cubic is Pillow's (Geometry.c: a = -1; pixels beyond the edge repeat it; the result is cut off, not
    rounded), in its order of operations.

    Args:
        pixels: (T, H, W, 3).
        shifts: (H,), pixels.
    """
    count, height, width, channels = pixels.shape
    padded = np.pad(pixels, ((0, 0), (0, 0), (2, 2), (0, 0)), mode="edge").astype(np.int16)
    padded = padded.reshape(count, height, (width + 4) * channels)
    out = np.full((count, height, width * channels), fill, dtype=np.uint8)
    middles = np.arange(width) + 0.5
    for y, shift in enumerate(shifts.tolist()):
        whole = int(np.floor(shift))
        # a pixel's middle, x + 1/2, must come from 0 to below width
        first = max(0, int(np.ceil(-0.5 - shift)))
        end = min(width, int(np.ceil(width - 0.5 - shift)))
        if first >= end:
            continue
        # the same for all pixels but for the rounding that Pillow makes too
        d = np.repeat((middles[first:end] + shift - 0.5) - np.arange(first + whole, end + whole), channels)
        row = padded[:, y, (first + whole + 1) * channels : (end + whole + 4) * channels]
        n = (end - first) * channels
        v1, v2, v3, v4 = (row[:, tap * channels : tap * channels + n] for tap in range(4))
        a, b = v1 - v2, v3 - v4
        both = a + b
        # v2 + d (v3 - v1 + d (2a + b - d (a + b)))
        value = both * -d
        value += a + both
        value *= d
        value += v3 - v1
        value *= d
        value += v2
        np.clip(value, 0, 255, out=value)
        out[:, y, first * channels : end * channels] = value
    return out.reshape(pixels.shape)


def shift_columns(pixels: Pixels, shifts: NDArray[np.float64], fill: int) -> Pixels:
    """As `shift_rows`: pixel y of column x comes from y + shifts[x]; `shifts` is (W,)."""
    return _turned(shift_rows(_turned(pixels), shifts, fill))


def _turned(pixels: Pixels) -> Pixels:
    """Rows for columns. One colour after the other, which is five times faster than all at once."""
    count, height, width, channels = pixels.shape
    out = np.empty((count, width, height, channels), dtype=np.uint8)
    for channel in range(channels):
        out[..., channel] = pixels[..., channel].transpose(0, 2, 1)
    return out
