"""Partial fine-tuning: the last blocks and the final norm train, as "Partial-k" of the prompt-tuning papers.

Source: Jia et al., Visual Prompt Tuning, ECCV 2022, arXiv 2203.12119, section 4.1; after Yosinski et al., NeurIPS 2014.
Code: KMnP/vpt at 4410440, src/models/vit_models.py (partial-1, -2 and -4).

Deviations: the head is the benchmark's (mean of the frames' class tokens). Weight decay: on matrices, not on biases and
norms (there: on all with SGD, its default, and on norms with AdamW).
"""

from __future__ import annotations

from pydantic import Field

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import VideoViT
from petl_bench.errors import UserError
from petl_bench.fields import Whole
from petl_bench.method import FreshLR, Method, Settings


class PartialSettings(Settings):
    last: Whole = Field(1, ge=1, le=1024, description="how many of the last blocks train")
    fresh_lr: FreshLR = 1.0


class Partial(Method):
    """The last blocks and the final norm are fine-tuned, all before them is frozen."""

    summary = "the last k blocks and the final norm"
    place = "last blocks"
    paper = "Yosinski et al., How transferable are features in deep neural networks?, NeurIPS 2014, arXiv 1411.1792"
    identity_at_init = True
    Settings = PartialSettings
    settings: PartialSettings

    def first_block(self, backbone: VideoViT) -> int:
        if self.settings.last > backbone.depth:
            raise UserError(f"partial.last={self.settings.last}: this backbone has {backbone.depth} blocks.")
        return backbone.depth - self.settings.last

    def adapt(self, model: AdaptedViT) -> None:
        for index in range(self.first_block(model.backbone), model.backbone.depth):
            model.own_block(index)
        model.own_norm()
