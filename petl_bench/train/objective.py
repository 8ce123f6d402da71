"""What is learned: the loss, the class probabilities and what counts as right, for one head or several.

With several heads (EPIC-Kitchens: verb and noun) the classifier's outputs are theirs side by side, and a label is
the index of their combination, the last head running fastest. A clip is right where every head is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from petl_bench.dataset_config import DatasetConfig


@dataclass(frozen=True)
class Objective:
    """Cross-entropy, summed over heads.

    sizes: classes of each head; one entry where there is one head.
    """

    sizes: tuple[int, ...]
    label_smoothing: float = 0.0

    @staticmethod
    def of(dataset: DatasetConfig, label_smoothing: float = 0.0) -> Objective:
        return Objective(tuple(dataset.heads.values()) or (dataset.classes,), label_smoothing)

    def split_labels(self, labels: Tensor) -> list[Tensor]:
        """(B,) combined -> (B,) for each head."""
        parts = []
        for size in reversed(self.sizes):
            parts.append(labels % size)
            labels = labels // size
        return parts[::-1]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, outputs), (B,) -> scalar."""
        pairs = zip(torch.split(logits, list(self.sizes), -1), self.split_labels(labels), strict=True)
        losses = [F.cross_entropy(x, y, label_smoothing=self.label_smoothing) for x, y in pairs]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., outputs) -> the same shape; each head sums to one."""
        return torch.cat([x.softmax(-1) for x in torch.split(logits, list(self.sizes), -1)], -1)

    def right(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(B, outputs), (B,) -> (B,) bool."""
        pairs = zip(torch.split(scores, list(self.sizes), -1), self.split_labels(labels), strict=True)
        return torch.stack([x.argmax(-1) == y for x, y in pairs]).all(0)
