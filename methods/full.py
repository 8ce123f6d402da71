"""Full fine-tuning with TimeSformer's divided space-time attention: the paper's strongest and most expensive row.

Source: Bertasius et al., arXiv 2102.05095, as "full fine-tuning" in Pan et al., arXiv 2206.13559 (121.57 M
parameters for ViT-B/16 with 8 frames and a 400-way head). Code: facebookresearch/TimeSformer at a5ef29a,
timesformer/models/vit.py.

Deviations: those of `_divided_attention.py`, which are settings where they can be; a learning rate for new modules (the
temporal linear layers, the time embedding, the head) that is ten times that of the pretrained weights and of their
copies in the temporal attention (there: one rate for all); AdamW under the benchmark's recipe (there: SGD
with momentum). Weight decay: on matrices and kernels; not on biases, norms, tokens and position and time embeddings
(there: on everything; the list of exceptions in its model is not read by its optimizer).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from petl_bench.adapted import AdaptedViT
from petl_bench.method import FreshLR, Method
from petl_bench.methods._divided_attention import DividedSettings, add_drop_path, add_temporal_attention


class FullSettings(DividedSettings):
    fresh_lr: FreshLR = 10.0
    temporal: Literal["divided", "none"] = Field(
        "divided",
        description="divided: temporal attention before each spatial one; none: the image model alone",
    )

    @model_validator(mode="after")
    def _no_time_without_attention(self) -> FullSettings:
        idle = [
            n for n in ("time_init", "time_resize") if getattr(self, n) != type(self).model_fields[n].default
        ]
        if self.temporal == "none" and idle:
            raise ValueError(f"{' and '.join(idle)}: of no effect with temporal: none")
        return self


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
            add_temporal_attention(model, self.settings)
        add_drop_path(model, self.settings.drop_path)
