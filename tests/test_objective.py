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


def test_probabilities_of_views_sum_to_one_in_each_head() -> None:
    """Whatever stands before the outputs, such as clips and views."""
    logits = torch.randn(2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for row, found in zip(
        logits.view(6, 7).tolist(), Objective((3, 4)).probabilities(logits).view(6, 7), strict=True
    ):
        verbs, nouns = ([math.exp(x) for x in part] for part in (row[:3], row[3:]))
        expected = [x / sum(verbs) for x in verbs] + [x / sum(nouns) for x in nouns]
        assert found.tolist() == pytest.approx(expected)


def test_smoothing_of_two_heads_against_loops() -> None:
    """Each head has its own even share: 0.2 / 3 of a verb, 0.2 / 4 of a noun."""
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 5, 6, 11, 8])
    loss = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        for part, target in ((row[:3], label // 4), (row[3:], label % 4)):
            total = math.log(sum(math.exp(x) for x in part))
            for place, x in enumerate(part):
                loss -= (0.8 * (place == target) + 0.2 / len(part)) * (x - total)
    assert Objective((3, 4), 0.2).loss(logits, labels).item() == pytest.approx(loss / 5)


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
