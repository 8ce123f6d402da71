"""LoRA: low-rank changes of the attention's linear layers, in space only.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv 2106.09685. Code: microsoft/LoRA
at c4593f0, loralib/layers.py. As there, A is drawn as a linear layer is (the paper: from a normal distribution), B
starts at zero, and the product is scaled by alpha / rank.

Deviations: timm's attention has one linear layer for query, key and value, so one low-rank product changes all three
(there: query and value, a product for each); no dropout before A (there: a setting, 0 by default); the change is not
merged for tests. Weight decay: on A and B, as there.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.fields import Number, Whole
from petl_bench.method import Method, Settings

Layer = Literal["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]


class LoRASettings(Settings):
    rank: Whole = Field(8, ge=1, le=65_536)
    alpha: Number = Field(8.0, ge=1e-6, le=1e6, description="scale of the change, times the rank")
    layers: list[Layer] = Field(["attn.qkv"], min_length=1, description="linear layers of a block")


class LowRank(nn.Module):
    """output + (alpha / rank) * B A input."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.a = nn.Linear(linear.in_features, rank, bias=False)
        self.b = nn.Linear(rank, linear.out_features, bias=False)
        self.scale = alpha / rank
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        return out + self.scale * self.b(self.a(x))


class LoRA(Method):
    """Low-rank changes of frozen linear layers."""

    summary = "low-rank changes of linear layers"
    place = "attn.qkv"
    paper = "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv 2106.09685"
    identity_at_init = True
    Settings = LoRASettings
    settings: LoRASettings

    def adapt(self, model: AdaptedViT) -> None:
        s = self.settings
        for index, block in enumerate(model.backbone.vit.blocks):
            for layer in s.layers:
                model.fill(index, layer, LowRank(block.get_submodule(layer), s.rank, s.alpha))
