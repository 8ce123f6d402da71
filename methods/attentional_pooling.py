"""Attentional pooling: a learned query attends over the tokens of all frames of the frozen trunk.

Source: Yu et al., CoCa, TMLR 2022, arXiv 2205.01917, section 3.2 (its video models pool the frames' tokens by one
query); Lee et al., Set Transformer, ICML 2019. Code: none was published; open_clip's is the usual one
(mlfoundations/open_clip at 89fb801, src/open_clip/transformer.py, AttentionalPooler).

Deviations: one query for classification, no generative ones (there: 256 and one); the query has no norm of its own and
no projection, and is drawn with a standard deviation of D ** -0.5 (there: 1, then a norm); tokens pass the frozen final
norm (there: one that trains). Weight decay: on the projections, not on the query, a vector (there: a matrix of queries,
which decays).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape, VideoViT
from petl_bench.errors import UserError
from petl_bench.fields import Whole
from petl_bench.method import Method, Settings


class AttentionalPoolingSettings(Settings):
    heads: Whole | None = Field(None, ge=1, le=65_536, description="attention heads; default: the backbone's")


class QueryPool(nn.Module):
    """softmax(q K^T) V over the tokens of all frames, then a norm: (B*T, P + N, D) -> (B, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"attentional_pooling.heads={heads} does not divide the width {width}.")
        self.heads = heads
        self.query = nn.Parameter(torch.randn(width) * width**-0.5)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        for linear in (self.kv, self.proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, shape: ClipShape, model: AdaptedViT) -> Tensor:
        B, D = shape.B, x.shape[-1]
        tokens = model.final_norm(x).reshape(B, -1, D)  # (B, T*(P+N), D)
        k, v = self.kv(tokens).view(B, -1, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        q = self.query.to(k.dtype).view(1, self.heads, 1, -1).expand(B, -1, -1, -1)
        pooled = F.scaled_dot_product_attention(q, k, v).reshape(B, D)
        return self.norm(self.proj(pooled))  # type: ignore[no-any-return]


class AttentionalPooling(Method):
    """A learned query attends over the tokens of all frames; the trunk is frozen."""

    summary = "a query attending over all tokens of the frozen trunk"
    place = "head"
    paper = "Yu et al., CoCa: Contrastive Captioners are Image-Text Foundation Models, TMLR 2022, arXiv 2205.01917"
    Settings = AttentionalPoolingSettings
    settings: AttentionalPoolingSettings

    def first_block(self, backbone: VideoViT) -> int:
        return backbone.depth

    def adapt(self, model: AdaptedViT) -> None:
        model.pooling = QueryPool(model.backbone.width, self.settings.heads or model.backbone.heads)
