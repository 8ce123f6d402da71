"""One head or several: loss, probabilities and what is right, against loops."""

from __future__ import annotations

import math

import pytest
import torch

from petl_bench.dataset_config import DatasetConfig, ListSource
from petl_bench.train.objective import Objective

HEADS = {"verb": 3, "noun": 4}


def test_two_heads_against_loops() -> None:
    objective = Objective.of(
        DatasetConfig(name="d", summary="", classes=12, heads=HEADS, source=ListSource(kind="list"))
    )
    torch.manual_seed(0)
    logits = torch.randn(6, 7, dtype=torch.float64)
    labels = torch.tensor([0, 3, 4, 7, 11, 6])  # verb * 4 + noun
    loss, right = 0.0, []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        verb, noun = divmod(label, 4)
        for part, target in ((row[:3], verb), (row[3:], noun)):
            loss -= part[target] - math.log(sum(math.exp(x) for x in part))
        right.append(row[:3].index(max(row[:3])) == verb and row[3:].index(max(row[3:])) == noun)
    assert objective.loss(logits, labels).item() == pytest.approx(loss / 6)
    assert objective.right(logits, labels).tolist() == right
    probabilities = objective.probabilities(logits)
    assert torch.allclose(probabilities[:, :3].sum(1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(probabilities[:, 3:].sum(1), torch.ones(6, dtype=torch.float64))


def test_one_head_is_plain_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 9), torch.tensor([0, 8, 3, 3, 1])
    objective = Objective((9,), label_smoothing=0.1)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)
    assert torch.equal(objective.loss(logits, labels), expected)
    assert torch.equal(objective.probabilities(logits), logits.softmax(-1))


def test_heads_must_multiply_to_the_classes() -> None:
    with pytest.raises(ValueError, match="not the product"):
        DatasetConfig(name="d", summary="", classes=7, heads=HEADS, source=ListSource(kind="list"))
