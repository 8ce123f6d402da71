"""Batches of clips on their way to the device that trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petl_bench.data.packed import PackedClips


@dataclass(frozen=True)
class Batch:
    """Clips of a batch, B of them; fewer than asked for, even none, where files failed to decode.

    clips: uint8, (B, T, 3, S, S) in training, (B, V, T, 3, S, S) in tests; V views, temporal x spatial,
        the spatial ones next to each other. Or what `to_device` makes these of.
    labels: int64 (B,).
    indices: int64 (B,), positions in the manifest.
    unreadable: ids of the clips that failed to decode; they are left out, never replaced.
    seconds: what reading, decoding and, where they do it, augmenting it took the process that did it.
    """

    clips: Tensor | PackedClips
    labels: Tensor
    indices: Tensor
    unreadable: tuple[str, ...]
    seconds: float = 0.0

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, for copies to a GPU that do not block."""
        labels, indices = self.labels.pin_memory(), self.indices.pin_memory()
        return replace(self, clips=self.clips.pin_memory(), labels=labels, indices=indices)

    def to_device(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The clips as the network takes them, and the labels, on a device. Does not wait for it."""
        labels = self.labels.to(device, non_blocking=True)
        return self.clips.to(device, non_blocking=True), labels
