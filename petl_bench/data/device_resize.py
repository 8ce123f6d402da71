"""Crops, resizing and flips on the device that trains: two matrix products, with matrices of their own for each clip.

Along each axis a pixel of the result is a weighted sum of pixels of the frame. Crop and flip are in the weights. The
kernels are those of `augment.resize`; as there, what is resized along the width is rounded and cut off at 0 and 255
before it is resized along the height.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from petl_bench.data.augment import Draw, Interpolation, short_side, view_corners
from petl_bench.data.device_randaugment import in_groups, in_parts, stacked, to_device_of

CUBIC = -0.75  # PyTorch's a


@dataclass(frozen=True)
class Axis:
    """How one side of a frame becomes one of the result: `length` pixels from `start` on are brought to `size`
    pixels, of which those from `first` on are taken, last one first where it is `mirrored`."""

    start: int
    length: int
    size: int
    first: int = 0
    mirrored: bool = False


def drawn_views(
    clips: Sequence[Tensor], draws: Sequence[Draw], size: int, interpolation: Interpolation
) -> list[Tensor]:
    """The drawn crops of training clips, (T, 3, H, W) uint8 each, on one device: (T, 3, S, S) uint8 each."""
    out: dict[int, Tensor] = {}
    for group in in_groups({i: clip.shape for i, clip in enumerate(clips)}, clips):
        frames = stacked(clips, group)
        sides = [_sides(draws[i], frames.shape[-2], frames.shape[-1], size) for i in group]
        rows, columns = zip(*sides, strict=True)
        out |= zip(group, resize(frames, rows, columns, size, size, interpolation), strict=True)
    return [out[i] for i in range(len(clips))]


def _sides(drawn: Draw, height: int, width: int, size: int) -> tuple[Axis, Axis]:
    top, left, h, w = drawn.box
    if drawn.resized is not None:
        rows, columns = drawn.resized
        return Axis(0, height, rows, top), Axis(0, width, columns, left, drawn.flip)
    return Axis(top, h, size), Axis(left, w, size, 0, drawn.flip)


def spatial_views(
    clips: Sequence[Tensor], size: int, spatial: int, interpolation: Interpolation
) -> list[Tensor]:
    """The spatial test views of clips, (F, 3, H, W) uint8 each, on one device: (spatial, F, 3, S, S) uint8 each."""
    out: dict[int, Tensor] = {}
    for group in in_groups({i: clip.shape for i, clip in enumerate(clips)}, clips):
        frames = stacked(clips, group)
        H, W = frames.shape[-2:]
        h, w = short_side(H, W, size)
        frames = resize(frames, [Axis(0, H, h)], [Axis(0, W, w)], h, w, interpolation)
        corners = view_corners(h, w, size, spatial)
        views = [frames[..., top : top + size, left : left + size] for top, left in corners]
        out |= zip(group, torch.stack(views, 1), strict=True)
    return [out[i] for i in range(len(clips))]


def resize(
    frames: Tensor,
    rows: Sequence[Axis],
    columns: Sequence[Axis],
    height: int,
    width: int,
    interpolation: Interpolation,
) -> Tensor:
    """Parts of frames at another size.

    Args:
        frames: (G, T, 3, H, W) uint8; G clips.
        rows, columns: for each clip, or one for all of them.
        height, width: of the result, pixels.

    Returns:
        (G, T, 3, height, width) uint8.
    """
    across = weights(columns, frames.shape[-1], width, interpolation, frames).transpose(1, 2)
    down = weights(rows, frames.shape[-2], height, interpolation, frames)[:, None]

    def products(part: Tensor) -> Tensor:
        G, T, C, H, W = part.shape
        value = _rounded(part.view(G, T * C * H, W).float() @ across)
        value = _rounded(down @ value.view(G, T * C, H, width))
        return value.to(torch.uint8).view(G, T, C, height, width)

    with _whole_float32():
        return in_parts(frames, products)


def _rounded(value: Tensor) -> Tensor:
    return value.add_(0.5).floor_().clamp_(0, 255)


def weights(
    axes: Sequence[Axis], length: int, count: int, interpolation: Interpolation, like: Tensor
) -> Tensor:
    """What each pixel of a side of a frame counts for in each pixel of the result: (clips, count, length) float32,
    on the device of `like`.

    As PyTorch's kernels for 8 bit, with weights of 15 bits: multiples of the power of two that just allows the largest
    of a side. Their products with pixels, and sums of these, are exact in float32 for frames up to four times the
    size of the result, so the order of the additions, which differs between devices, changes nothing.
    """
    numbers = [(a.start, a.length, a.size, a.first, -1 if a.mirrored else 1) for a in axes]
    start, span, size, first, step = to_device_of(like, numbers, torch.float64).view(-1, 5, 1, 1).unbind(1)
    all_taken = torch.arange(max(a.size for a in axes), dtype=torch.float64, device=like.device)[:, None]
    place = torch.arange(length, dtype=torch.float64, device=like.device) - start  # (clips, 1, length)
    weight = KERNELS[interpolation](place, span, span / size, all_taken)
    weight = torch.where(all_taken < size, weight, 0.0)
    powers = to_device_of(like, [2.0**n for n in range(1, 23)], torch.float64)
    fits = weight.amax((1, 2))[:, None] * powers + 0.5 < 2**15
    unit = (fits * powers).amax(1)[:, None, None]
    weight = (weight * unit + weight.sign() / 2).trunc_() / unit
    turn = torch.where(step < 0, count - 1, 0)
    rows = first + turn + step * torch.arange(count, dtype=torch.float64, device=like.device)[:, None]
    return weight.gather(1, rows.long().expand(-1, -1, length)).float()


def _bilinear(place: Tensor, span: Tensor, scale: Tensor, taken: Tensor) -> Tensor:
    """A triangle as wide as a pixel of the result, but at least as one of the frame."""
    weight = 1 - ((place + 0.5 - (taken + 0.5) * scale) / scale.clamp(min=1)).abs()
    weight = torch.where((place >= 0) & (place < span), weight.clamp_(min=0), 0.0)
    return weight / weight.sum(2, keepdim=True)


def _bicubic(place: Tensor, span: Tensor, scale: Tensor, taken: Tensor) -> Tensor:
    centre = (taken + 0.5) * scale - 0.5
    before = centre.floor()
    d = centre - before
    weight = torch.zeros((), dtype=torch.float64, device=place.device)
    for tap, kernel in ((-1, _outer(d + 1)), (0, _inner(d)), (1, _inner(1 - d)), (2, _outer(2 - d))):
        at = torch.minimum((before + tap).clamp_(min=0), span - 1)  # pixels beyond the box repeat its edge
        weight = weight + torch.where(place == at, kernel, 0.0)
    return weight


KERNELS = {"bilinear": _bilinear, "bicubic": _bicubic}


def _inner(d: Tensor) -> Tensor:
    """The cubic kernel at a distance of 0 to 1."""
    return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1


def _outer(d: Tensor) -> Tensor:
    """The cubic kernel at a distance of 1 to 2."""
    return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Products in float32, whatever the rest of the program has chosen: TF32 keeps 10 bits, and errs by levels."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
