"""Temporal fine-tuning: TimeSformer's temporal modules train, the image weights are frozen.

Source: "temporal fine-tuning" in Pan et al., arXiv 2206.13559; modules after Bertasius et al., arXiv 2102.05095. Code:
facebookresearch/TimeSformer at a5ef29a, timesformer/models/vit.py; none was published for this row.

Deviations: those of `_divided_attention.py`, which are settings where they can be. Weight decay: on matrices; not on
biases, norms and the time embedding (TimeSformer: on everything).
"""

from __future__ import annotations

from petl_bench.adapted import AdaptedViT
from petl_bench.method import FreshLR, Method
from petl_bench.methods._divided_attention import DividedSettings, add_drop_path, add_temporal_attention


class TemporalSettings(DividedSettings):
    fresh_lr: FreshLR = 1.0


class Temporal(Method):
    """Temporal attention before the spatial attention of each block trains; the image model is frozen."""

    summary = "temporal attention in each block, image weights frozen"
    place = "before_attn"
    paper = (
        "Bertasius et al., Is Space-Time Attention All You Need for Video Understanding?, ICML 2021, "
        "arXiv 2102.05095"
    )
    identity_at_init = True
    Settings = TemporalSettings
    settings: TemporalSettings

    @property
    def order_blind(self) -> bool:
        return False

    def adapt(self, model: AdaptedViT) -> None:
        add_temporal_attention(model, self.settings)
        add_drop_path(model, self.settings.drop_path)
