"""Temporal fine-tuning: TimeSformer's temporal modules train, the image weights are frozen.

Source: "temporal fine-tuning" in Pan et al., arXiv 2206.13559; modules after Bertasius et al., arXiv 2102.05095.
Deviations: see `_divided_attention.py`.
"""

from __future__ import annotations

from petl_bench.adapted import AdaptedViT
from petl_bench.method import FreshLR, Method, Settings
from petl_bench.methods._divided_attention import add_temporal_attention


class TemporalSettings(Settings):
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
        add_temporal_attention(model)
