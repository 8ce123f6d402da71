"""Decoded frames of a batch with what was drawn for them: the training device augments, crops and resizes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from petl_bench.data.augment import Draw, Interpolation
from petl_bench.data.device_randaugment import apply_on_device
from petl_bench.data.device_resize import drawn_views, spatial_views


@dataclass(frozen=True)
class Decoded:
    """A clip whose frames are read.

    pixels: (frames, H, W, 3), each frame that is wanted once.
    places: (temporal views, T): the frames of each view, in training of the one; in the order of `time_order`.
    drawn: the augmentation, in training.
    """

    pixels: NDArray[np.uint8]
    places: NDArray[np.int64]
    drawn: Draw | None


@dataclass(frozen=True)
class PackedClips:
    """Clips of any sizes in one tensor, so that one copy takes them to the device. `to` and `pin_memory` are as a
    tensor's, but for what `to` gives: the clips as the network takes them.

    pixels: uint8, flat: (temporal views x T, H, W, 3) of one clip after the other.
    sizes: H and W of each clip.
    draws: the augmentation of each clip, in training; none in tests.
    shape: of a clip for the network: (T, 3, S, S) in training, (V, T, 3, S, S) in tests.
    spatial: how many of the test views show the same frames.
    """

    pixels: Tensor
    sizes: tuple[tuple[int, int], ...]
    draws: tuple[Draw, ...]
    shape: tuple[int, ...]
    spatial: int
    interpolation: Interpolation

    @classmethod
    def of(
        cls, clips: Iterable[Decoded], shape: tuple[int, ...], spatial: int, interpolation: Interpolation
    ) -> PackedClips:
        """Pack some clips, even none."""
        clips = list(clips)
        counts = [clip.places.size * clip.pixels[0].size for clip in clips]
        pixels = _room(sum(counts))
        for clip, part in zip(clips, torch.split(pixels, counts), strict=True):
            out = part.numpy().reshape(clip.places.size, *clip.pixels.shape[1:])
            np.take(clip.pixels, clip.places.ravel(), axis=0, out=out, mode="clip")  # "raise" copies twice
        sizes = tuple((clip.pixels.shape[1], clip.pixels.shape[2]) for clip in clips)
        draws = tuple(clip.drawn for clip in clips if clip.drawn is not None)
        return cls(pixels, sizes, draws, shape, spatial, interpolation)

    def pin_memory(self) -> PackedClips:
        return replace(self, pixels=self.pixels.pin_memory())

    @torch.no_grad()
    def to(self, device: torch.device, non_blocking: bool = False) -> Tensor:
        """(B, *shape) uint8 on a device, the pixels that `augment.py` makes of the same frames and draws."""
        pixels = self.pixels.to(device, non_blocking=non_blocking)
        if not self.sizes:
            return pixels.new_empty((0, *self.shape))
        with torch.autocast(device.type, enabled=False):
            views = self._drawn(self._clips(pixels)) if self.draws else self._fixed(self._clips(pixels))
        return torch.stack(views)

    def _clips(self, pixels: Tensor) -> list[Tensor]:
        """(temporal views x T, 3, H, W) of each clip."""
        frames = self.shape[-4] * (1 if self.draws else self.shape[0] // self.spatial)
        parts = torch.split(pixels, [frames * height * width * 3 for height, width in self.sizes])
        shaped = zip(parts, self.sizes, strict=True)
        return [part.view(frames, *size, 3).permute(0, 3, 1, 2) for part, size in shaped]

    def _drawn(self, clips: list[Tensor]) -> list[Tensor]:
        clips = apply_on_device(clips, [drawn.operations for drawn in self.draws])
        return drawn_views(clips, self.draws, self.shape[-1], self.interpolation)

    def _fixed(self, clips: list[Tensor]) -> list[Tensor]:
        views = spatial_views(clips, self.shape[-1], self.spatial, self.interpolation)
        by_crop = (self.spatial, -1, *self.shape[1:])  # spatial, temporal, T, 3, S, S
        return [view.reshape(by_crop).transpose(0, 1).reshape(self.shape) for view in views]


def _room(count: int) -> Tensor:
    """An uninitialised uint8 tensor; in a worker one in shared memory, as torch's own collation makes it, so that
    handing it over copies nothing."""
    if not count or get_worker_info() is None:
        return torch.empty(count, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(count, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage)
