"""TimeSformer's temporal attention as a module before the spatial attention of a block, and its drop path.

Source: Bertasius, Wang, Torresani, Is Space-Time Attention All You Need for Video Understanding?, ICML 2021,
arXiv 2102.05095. Code: facebookresearch/TimeSformer at a5ef29a, timesformer/models/vit.py.

As there: norm and attention start from the spatial ones of the block; the temporal linear layer starts at zero in every
block (the loop that zeroes it skips its first match, but that is the list of the blocks, not the first block), so the
model starts as the image model; the number of parameters is the same.

Deviations: class tokens stay one a frame (there: one a clip, whose spatial attention is averaged over the frames in
each block); the time embedding is added to what enters each temporal branch (there: to the patches, before the first
block). By default the time embedding is drawn from a normal distribution, clips of another length have it interpolated
linearly, and there is no drop path; there: zero, nearest, and 0 to 0.1 from the first block to the last. The settings
are `time_init: zero`, `time_resize: nearest`, `drop_path: 0.1`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape
from petl_bench.fields import Below1
from petl_bench.kernels import add_to_patches
from petl_bench.method import Settings

TimeInit = Literal["normal", "zero"]
TimeResize = Literal["linear", "nearest"]


class DividedSettings(Settings):
    time_init: TimeInit = Field("normal", description="the time embedding's start; TimeSformer's: zero")
    time_resize: TimeResize = Field(
        "linear", description="of the time embedding, for clips of another length; TimeSformer's: nearest"
    )
    drop_path: Below1 = Field(
        0.0,
        description="share of branches dropped in training in the last block, falling evenly to 0 in the first; "
        "TimeSformer's: 0.1",
    )


class TimeEmbedding(nn.Module):
    """One vector for each frame, shared by all blocks; interpolated for clips of another length."""

    def __init__(self, frames: int, width: int, init: TimeInit, resize: TimeResize) -> None:
        super().__init__()
        self.resize = resize
        self.time_embed = nn.Parameter(
            nn.init.trunc_normal_(nn.Embedding(frames, width).weight.detach(), std=0.02)
        )
        if init == "zero":
            nn.init.zeros_(self.time_embed)

    def no_weight_decay(self) -> set[str]:
        return {"time_embed"}

    def forward(self, T: int) -> Tensor:
        """(T, D)."""
        if self.time_embed.shape[0] == T:
            return self.time_embed
        known = self.time_embed.T[None]
        if self.resize == "nearest":
            return F.interpolate(known, size=T, mode="nearest")[0].T
        return F.interpolate(known, size=T, mode="linear", align_corners=False)[0].T


class DropPath(nn.Module):
    """In training, whole branches are zero with probability `share`, the others are larger by as much."""

    def __init__(self, share: float, of: Literal["rows", "clips"]) -> None:
        super().__init__()
        self.share = share
        self.of = of

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        """(rows, tokens, D) -> the same. `of: clips`: rows are frames, those of a clip are dropped together."""
        if not self.training or self.share == 0:
            return x
        count = shape.B if self.of == "clips" else x.shape[0]
        kept = torch.rand(count, 1, 1, device=x.device) >= self.share
        if self.of == "clips":
            kept = kept.repeat_interleave(shape.T, 0)
        return x * (kept / (1 - self.share)).to(x.dtype)


class TemporalAttention(nn.Module):
    """x + Linear(Attention over time(Norm(x + time embedding))), on patch tokens at the same place."""

    plain = False

    def __init__(
        self, norm: nn.Module, attn: nn.Module, width: int, time: TimeEmbedding, drop_path: float
    ) -> None:
        super().__init__()
        self.norm = norm
        self.attn = attn
        self.drop_path = DropPath(drop_path, of="rows")  # of places: each drops its frames together
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self._time = (time,)  # owned by the model, shared by the blocks

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        B, T, N, D = shape.B, shape.T, shape.N, x.shape[-1]
        patches = x[:, -N:].reshape(B, T, N, D)
        along = patches.transpose(1, 2).reshape(B * N, T, D) + self._time[0](T)
        change = self.linear(self.drop_path(self.attn(self.norm(along)), shape))
        change = change.view(B, N, T, D).transpose(1, 2).reshape(B * T, N, D)
        # class tokens and prompts are left as they are
        if self.plain:
            return F.pad(change, (0, 0, x.shape[1] - N, 0)) + x
        return add_to_patches(x, change)


def add_temporal_attention(model: AdaptedViT, settings: DividedSettings) -> None:
    """Put a temporal attention before the spatial attention of every block."""
    backbone = model.backbone
    time = TimeEmbedding(model.frames, backbone.width, settings.time_init, settings.time_resize)
    model.shared["time"] = time
    shares = drop_path_shares(settings.drop_path, backbone.depth)
    for index, (block, share) in enumerate(zip(backbone.vit.blocks, shares, strict=True)):
        # TimeSformer starts from the spatial attention's weights too
        norm, attn = model.own(block.norm1), model.own(block.attn)
        model.fill(index, "before_attn", TemporalAttention(norm, attn, backbone.width, time, share))


def add_drop_path(model: AdaptedViT, largest: float) -> None:
    """Drop the spatial attention of single frames and the MLP of whole clips, as TimeSformer does."""
    for index, share in enumerate(drop_path_shares(largest, model.backbone.depth)):
        if share > 0:
            model.fill(index, "after_attn", DropPath(share, of="rows"))
            model.fill(index, "after_mlp", DropPath(share, of="clips"))


def drop_path_shares(largest: float, depth: int) -> list[float]:
    """From 0 in the first block to `largest` in the last, in even steps."""
    return [largest * index / max(1, depth - 1) for index in range(depth)]
