"""Linear probe: the floor of every comparison. Only the classifier trains.

The head is the published one of ST-Adapter: class tokens averaged over the frames, the frozen final norm,
dropout, a linear layer (linziyi96/st-adapter).
"""

from __future__ import annotations

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import VideoViT
from petl_bench.method import Method


class LinearProbe(Method):
    """A linear classifier on the frozen backbone's features, averaged over frames."""

    summary = "a linear classifier on frozen features"
    place = "head"
    paper = "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"
    identity_at_init = True

    def first_block(self, backbone: VideoViT) -> int:
        return backbone.depth

    def adapt(self, model: AdaptedViT) -> None:
        pass
