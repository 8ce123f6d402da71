"""The bottleneck adapter of natural language processing, in space only: each token by itself.

Source: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, arXiv 1902.00751. Code:
google-research/adapter-bert at 1a31fc6, modeling.py. As there: after the attention and after the MLP, before the
residual sum; biases at zero.

Deviations: norms stay frozen (there: every LayerNorm of the network trains, too); GELU is exact (there: its
approximation by tanh). By default the up-projection starts at zero, so that the adapted model starts as the frozen one,
and the down-projection as a linear layer; with `init_std: 0.001` both are drawn from a truncated normal distribution,
as there. The default width, a quarter of the backbone's in two places, gives the parameters of ST-Adapter's half in one
(there: 64). Weight decay: on the weights, not on biases, as there.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape, VideoViT
from petl_bench.fields import Number, Whole
from petl_bench.method import Method, Settings, chosen_blocks

Place = Literal["before_attn", "after_attn", "before_mlp", "after_mlp", "beside_mlp"]


class AdapterSettings(Settings):
    width: Whole | None = Field(
        None, ge=1, le=65_536, description="of the bottleneck; default: a quarter of the backbone's"
    )
    places: list[Place] = Field(["after_attn", "after_mlp"], min_length=1, description="slots of a block")
    blocks: list[Whole] | None = Field(
        None, description="indices of blocks, negative from the end; default: all"
    )
    init_std: Number | None = Field(
        None,
        ge=1e-6,
        le=1,
        description="both weights start truncated normal, as Houlsby's with 0.001; default: the up-projection at zero",
    )


class Bottleneck(nn.Module):
    """x + W_up GELU(W_down x) on every token; without the residual where it stands beside a branch."""

    def __init__(self, width: int, bottleneck: int, residual: bool, std: float | None = None) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.act = nn.GELU()
        self.residual = residual
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        if std is not None:
            for linear in (self.down, self.up):
                nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        change = self.up(self.act(self.down(x)))
        return x + change if self.residual else change


class Adapter(Method):
    """Bottleneck adapters inside the frozen blocks, without any look at other frames."""

    summary = "a bottleneck MLP in each block, space only"
    place = "after_attn, after_mlp"
    paper = "Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, arXiv 1902.00751"
    Settings = AdapterSettings
    settings: AdapterSettings

    @property
    def identity_at_init(self) -> bool:
        return self.settings.init_std is None

    def first_block(self, backbone: VideoViT) -> int:
        return chosen_blocks(self.settings.blocks, backbone.depth)[0]

    def adapt(self, model: AdaptedViT) -> None:
        s, width = self.settings, model.backbone.width
        for index in chosen_blocks(s.blocks, model.backbone.depth):
            for place in s.places:
                residual = place != "beside_mlp"
                model.fill(index, place, Bottleneck(width, s.width or width // 4, residual, s.init_std))
