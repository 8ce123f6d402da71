"""RandAugment on the device that trains: the drawn operations of `randaugment.py`, several clips at a time.

Operation after operation, clips of one frame size that got the same kind of operation are done together. What decides
the control flow is known to the host, so nothing waits for the device. The pixels are those of the Pillow path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from petl_bench.data.device_warp import ALONG, matrix_of, warp
from petl_bench.data.randaugment import OPERATIONS, Applied, factor, factor_increasing

MOST = 2**23  # pixel values done at a time; a float64 of each is 64 MiB
# of one value alone, whatever the frame: Pillow itself says what becomes of each of the 256
_POINTWISE = ("Invert", "Posterize", "Solarize", "Brightness")


def apply_on_device(clips: Sequence[Tensor], operations: Sequence[tuple[Applied, ...]]) -> list[Tensor]:
    """Clips after their operations.

    Args:
        clips: (T, 3, H, W) uint8 each, of any sizes, on one device.
        operations: those of each clip.

    Returns:
        (T, 3, H, W) uint8 for each clip; the clip itself where there is nothing to do.
    """
    clips = list(clips)
    for position in range(max((len(drawn) for drawn in operations), default=0)):
        drawn = {i: ops[position] for i, ops in enumerate(operations) if position < len(ops)}
        kinds = {i: (kind_of(one.name), clips[i].shape) for i, one in drawn.items()}
        for group in in_groups(kinds, clips):
            kind, _ = kinds[group[0]]
            frames = stacked(clips, group)
            done = in_parts(frames, partial(_done, kind, [drawn[i] for i in group]))
            for i, clip in zip(group, done, strict=True):
                clips[i] = clip
    return clips


def _done(kind: str, drawn: Sequence[Applied], frames: Tensor) -> Tensor:
    return KINDS[kind](frames, drawn)


def stacked(clips: Sequence[Tensor], group: Sequence[int]) -> Tensor:
    """Some of the clips as (G, T, 3, H, W), and so in memory, whatever they were."""
    return torch.stack([clips[i] for i in group]).contiguous()


def in_groups(keys: Mapping[int, Hashable], clips: Sequence[Tensor]) -> list[list[int]]:
    """Clips with the same key, at most `MOST` pixel values of them together (but at least one clip)."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in keys.items():
        groups.setdefault(key, []).append(i)
    out = []
    for group in groups.values():
        step = max(1, MOST // max(1, clips[group[0]].numel()))
        out += [group[first : first + step] for first in range(0, len(group), step)]
    return out


def in_parts(frames: Tensor, do: Callable[[Tensor], Tensor]) -> Tensor:
    """What `do` makes of (G, T, 3, H, W), of fewer frames at a time where they are large: none looks at another."""
    few = max(1, MOST // max(1, frames[:, 0].numel()))
    parts = [do(part.contiguous()) for part in torch.split(frames, few, 1)]
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def kind_of(name: str) -> str:
    """The function here that does an operation: a key of `KINDS`."""
    if name.startswith(_POINTWISE):
        return "pointwise"
    return ALONG.get(name) or name.removesuffix("Increasing")


def to_device_of(frames: Tensor, values: object, dtype: torch.dtype) -> Tensor:
    """Numbers of the host on the device of the frames, sent without waiting."""
    return torch.as_tensor(np.asarray(values), dtype=dtype).to(frames.device, non_blocking=True)


# Below, frames are (G, T, 3, H, W) uint8 of G clips, `drawn` has an operation for each of them.


def _pointwise(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    tables = []
    for one in drawn:
        operation = OPERATIONS[one.name in OPERATIONS[True]][one.name]
        tables.append(np.asarray(operation(ramp, one.level, one.sign))[0, :, 0])
    return _looked_up(frames, to_device_of(frames, tables, torch.uint8).view(-1, 1, 1, 256))


def _looked_up(frames: Tensor, tables: Tensor) -> Tensor:
    """Every pixel value replaced: tables (G, T or 1, 3 or 1, 256) uint8."""
    tables = tables.expand(*frames.shape[:3], 256).reshape(-1)
    return tables.index_select(0, _in_tables(frames, torch.int32).flatten()).view(frames.shape)


def _in_tables(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Where pixel values stand in tables of 256 entries, one for each frame and colour, one after the other."""
    planes = frames.shape[:3]
    begins = torch.arange(0, 256 * planes.numel(), 256, dtype=dtype, device=frames.device)
    return frames.to(dtype).add_(begins.view(*planes, 1, 1))


def _auto_contrast(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    low, high = (bound(frames.flatten(3), 3).double() for bound in (torch.amin, torch.amax))
    low, high = low[..., None], high[..., None]
    values = torch.arange(256, dtype=torch.float64, device=frames.device)
    # infinite where all is one colour, which stays as it is; torch computes 255 / x as 255 times the inverse of x
    scale = torch.full_like(low, 255).div_(high - low)
    table = torch.where(high > low, values * scale + -low * scale, values)
    return _looked_up(frames, table.clamp_(0, 255).to(torch.uint8))


def _equalize(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    planes = frames.shape[:3]
    counts = torch.zeros(256 * planes.numel(), dtype=torch.int64, device=frames.device)
    index = _in_tables(frames, torch.int64).flatten()
    counts = counts.scatter_add_(0, index, counts.new_ones(1).expand_as(index)).view(*planes, 256)
    brightest = torch.amax(frames.flatten(3), 3, keepdim=True).long()
    step = (frames[0, 0, 0].numel() - counts.gather(3, brightest)).div_(255, rounding_mode="floor")
    values = torch.arange(256, device=frames.device)
    before = step.div(2, rounding_mode="floor") + counts.cumsum(3) - counts
    table = before.div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    return _looked_up(frames, torch.where(step > 0, table, values).to(torch.uint8))


def _color(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    return _blend(_grey(frames), frames, _factors(frames, drawn))


def _contrast(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    pixels = frames.shape[-2] * frames.shape[-1]
    total = _grey(frames).sum((2, 3, 4))
    mean = total.mul_(2).add_(pixels).div_(2 * pixels, rounding_mode="floor")  # total / pixels, rounded
    values = torch.arange(256, device=frames.device)
    table = _blend(mean[..., None, None], values, _factors(frames, drawn)[..., 0])
    return _looked_up(frames, table)


def _sharpness(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    H, W = frames.shape[-2:]
    smooth = frames.to(torch.int32)
    if H > 2 and W > 2:  # else all is border, which stays as it is
        parts = [smooth[..., y : H - 2 + y, x : W - 2 + x] for y in range(3) for x in range(3)]
        total = parts[4] * 4
        for part in parts:
            total = total.add_(part)
        inner = total.mul_(2).add_(13).div_(26, rounding_mode="floor")  # total / 13, rounded
        smooth = smooth.clone()
        smooth[..., 1:-1, 1:-1] = inner
    return _blend(smooth, frames, _factors(frames, drawn))


def _grey(frames: Tensor) -> Tensor:
    """Pillow's conversion to L: (G, T, 1, H, W) int32."""
    red, green, blue = frames.to(torch.int32).unbind(2)
    total = (red * 19595).add_(green * 38470).add_(blue * 7471).add_(0x8000)
    return total.bitwise_right_shift_(16)[:, :, None]


def _factors(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    """Of enhancements, (G, 1, 1, 1, 1) float32."""
    factors = [
        factor_increasing(one.level, one.sign) if one.name.endswith("Increasing") else factor(one.level)
        for one in drawn
    ]
    return to_device_of(frames, factors, torch.float32).view(-1, 1, 1, 1, 1)


def _blend(dull: Tensor, frames: Tensor, factors: Tensor) -> Tensor:
    """Pillow's Image.blend, in float32 and cut off: from `dull` (factor 0) to the frames (1) and beyond."""
    dull = dull.to(torch.int32)
    value = (frames.to(torch.int32) - dull).to(torch.float32).mul_(factors).add_(dull)
    return value.clamp_(0, 255).to(torch.uint8)


def _warp(frames: Tensor, drawn: Sequence[Applied]) -> Tensor:
    height, width = frames.shape[-2:]
    matrices = [matrix_of(one, height, width) for one in drawn]
    along = ALONG[drawn[0].name]
    return warp(frames, to_device_of(frames, matrices, torch.float64), along)


KINDS: dict[str, Callable[[Tensor, Sequence[Applied]], Tensor]] = {
    "pointwise": _pointwise,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "x": _warp,
    "y": _warp,
    "both": _warp,
}
