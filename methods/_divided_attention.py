"""TimeSformer's temporal attention as a module before the spatial attention of a block.

Source: Bertasius, Wang, Torresani, Is Space-Time Attention All You Need for Video Understanding?, ICML 2021,
arXiv 2102.05095. Deviations, all so that the model starts as the frozen image model: the temporal linear layer
is zero in every block (there: in all but the first); class tokens stay one a frame and skip the temporal
attention (there: one a clip, averaged after each block); the time embedding is added to what enters the
temporal branch (there: to the tokens, before the first block). The number of parameters is the same.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape
from petl_bench.kernels import add_to_patches


class TimeEmbedding(nn.Module):
    """One vector for each frame, shared by all blocks; interpolated for clips of another length."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.time_embed = nn.Parameter(
            nn.init.trunc_normal_(nn.Embedding(frames, width).weight.detach(), std=0.02)
        )

    def no_weight_decay(self) -> set[str]:
        return {"time_embed"}

    def forward(self, T: int) -> Tensor:
        """(T, D)."""
        if self.time_embed.shape[0] == T:
            return self.time_embed
        return F.interpolate(self.time_embed.T[None], size=T, mode="linear", align_corners=False)[0].T


class TemporalAttention(nn.Module):
    """x + Linear(Attention over time(Norm(x + time embedding))), on patch tokens at the same place."""

    plain = False

    def __init__(self, norm: nn.Module, attn: nn.Module, width: int, time: TimeEmbedding) -> None:
        super().__init__()
        self.norm = norm
        self.attn = attn
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self._time = (time,)  # owned by the model, shared by the blocks

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        B, T, N, D = shape.B, shape.T, shape.N, x.shape[-1]
        patches = x[:, -N:].reshape(B, T, N, D)
        along = patches.transpose(1, 2).reshape(B * N, T, D) + self._time[0](T)
        change = self.linear(self.attn(self.norm(along)))
        change = change.view(B, N, T, D).transpose(1, 2).reshape(B * T, N, D)
        # class tokens and prompts are left as they are
        if self.plain:
            return F.pad(change, (0, 0, x.shape[1] - N, 0)) + x
        return add_to_patches(x, change)


def add_temporal_attention(model: AdaptedViT) -> None:
    """Put a temporal attention before the spatial attention of every block."""
    backbone = model.backbone
    time = TimeEmbedding(model.frames, backbone.width)
    model.shared["time"] = time
    for index, block in enumerate(backbone.vit.blocks):
        # TimeSformer starts from the spatial attention's weights too
        module = TemporalAttention(model.own(block.norm1), model.own(block.attn), backbone.width, time)
        model.fill(index, "before_attn", module)
