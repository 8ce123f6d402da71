"""Linear probe: the floor of every comparison. Only the classifier trains.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021,
arXiv 2103.00020, section 3.2. Code: openai/CLIP at d05afc4, README.md. The head is the published one of ST-Adapter
(linziyi96/st-adapter at b914b38, models_adapter.py): class tokens averaged over the frames, the frozen final norm,
dropout, a linear layer.

Deviations: the classifier is trained by AdamW with dropout and augmentation, as every method's here, on features before
CLIP's projection (there: L-BFGS on stored features after it). Weight decay: on the weight, not on the bias.
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
