"""Full fine-tuning with TimeSformer's divided space-time attention: the paper's strongest and dearest row.

Source: Bertasius et al., arXiv 2102.05095, as "full fine-tuning" in Pan et al., arXiv 2206.13559 (121.57 M
parameters for ViT-B/16 with 8 frames and a 400-way head). Deviations: those of `_divided_attention.py`, and a
learning rate for new modules (the temporal linear layers, the time embedding, the head) that is ten times that of the
pretrained weights and their copies in the temporal attention (there: one rate for all).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from petl_bench.adapted import AdaptedViT
from petl_bench.method import FreshLR, Method, Settings
from petl_bench.methods._divided_attention import add_temporal_attention


class FullSettings(Settings):
    fresh_lr: FreshLR = 10.0
    temporal: Literal["divided", "none"] = Field(
        "divided",
        description="divided: temporal attention before each spatial one; none: the image model alone",
    )


class Full(Method):
    """Every weight of the backbone trains, with temporal attention added to each block."""

    summary = "every weight, with divided space-time attention"
    place = "everywhere"
    paper = (
        "Bertasius et al., Is Space-Time Attention All You Need for Video Understanding?, ICML 2021, "
        "arXiv 2102.05095"
    )
    identity_at_init = True
    Settings = FullSettings
    settings: FullSettings

    @property
    def order_blind(self) -> bool:
        return self.settings.temporal == "none"

    def adapt(self, model: AdaptedViT) -> None:
        model.own_all()
        if self.settings.temporal == "divided":
            add_temporal_attention(model)
