"""Visual prompt tuning, shallow and deep.

Source: Jia et al., Visual Prompt Tuning, ECCV 2022, arXiv 2203.12119. Code: KMnP/vpt at 4410440,
src/models/vit_prompt/vit.py. As there, prompts stand between the class token and the patches, deep prompts replace
those of the block before, and all are drawn uniformly from +-sqrt(6 / (3 * patch area + D)).

Deviations: the same prompts serve every frame, and the head is the benchmark's (mean of the frames' class tokens).
Defaults differ: 8 deep prompts with a dropout of 0.1 (there: 5 shallow ones, 0.0). Weight decay: not on prompts by
default, as ViTs have it for tokens; with `decay: true` on prompts, as AdamW has it there.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape
from petl_bench.fields import Below1, Switch, Whole
from petl_bench.method import Method, Settings


class PromptSettings(Settings):
    number: Whole = Field(8, ge=1, le=65_536, description="prompts of a block")
    deep: Switch = Field(True, description="new prompts in every block; else in the first alone")
    dropout: Below1 = Field(0.1, description="on the prompts; VPT's default: 0")
    decay: Switch = Field(False, description="weight decay on the prompts, as in VPT with AdamW")


class Prompts(nn.Module):
    """Puts prompts between prefix and patches, in the place of those that are there."""

    def __init__(self, number: int, width: int, bound: float, dropout: float) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.empty(number, width).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)

    def no_weight_decay(self) -> set[str]:
        return {"prompts"}

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        prompts = self.dropout(self.prompts.to(x.dtype).expand(x.shape[0], -1, -1))
        return torch.cat([x[:, : shape.P], prompts, x[:, -shape.N :]], dim=1)


class Prompt(Method):
    """Learned tokens beside the patches of each frame; everything else is frozen."""

    summary = "learned tokens beside the patches"
    place = "tokens"
    paper = "Jia et al., Visual Prompt Tuning, ECCV 2022, arXiv 2203.12119"
    Settings = PromptSettings
    settings: PromptSettings

    def decays(self, model: AdaptedViT, name: str, parameter: nn.Parameter) -> bool:
        if self.settings.decay and name.endswith(".prompts"):
            return True
        return super().decays(model, name, parameter)

    def adapt(self, model: AdaptedViT) -> None:
        backbone = model.backbone
        bound = math.sqrt(6 / (3 * backbone.patch[0] * backbone.patch[1] + backbone.width))
        for index in range(backbone.depth if self.settings.deep else 1):
            prompts = Prompts(self.settings.number, backbone.width, bound, self.settings.dropout)
            model.fill(index, "tokens", prompts)
