"""Metrics against loops that follow the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from petl_bench.metrics import compute_metrics


def test_against_loops() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((60, 8))
    labels = rng.integers(0, 8, 60)
    names = [f"c{i}" for i in range(8)]
    pairs = [(0, 1), (2, 3), (4, 5)]  # classes 6 and 7 have no twin
    m = compute_metrics(scores, labels, names, pairs)
    top1 = top5 = 0
    by_class: dict[int, list[bool]] = {}
    twins = {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4}
    decided: list[bool] = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        order = sorted(range(8), key=lambda c: -row[c])
        top1 += order[0] == label
        top5 += label in order[:5]
        by_class.setdefault(label, []).append(order[0] == label)
        if label in twins:
            decided.append(row[label] > row[twins[label]])
    assert m.top1 == pytest.approx(100 * top1 / 60)
    assert m.top5 == pytest.approx(100 * top5 / 60)
    assert m.mean_class == pytest.approx(100 * np.mean([np.mean(v) for v in by_class.values()]))
    assert m.pair_accuracy == pytest.approx(100 * np.mean(decided))
    assert m.per_class["c3"] == pytest.approx(100 * np.mean(by_class[3]))
    assert set(m.per_pair) == {"c0/c1", "c2/c3", "c4/c5"}
    assert m.n_test == 60


def test_equal_scores_are_no_knowledge() -> None:
    m = compute_metrics(np.ones((4, 6)), np.array([0, 1, 2, 3]), list("abcdef"), [(0, 1)])
    assert (m.top1, m.top5, m.pair_accuracy) == (0, 0, 0)


def test_few_classes_have_no_top5() -> None:
    assert compute_metrics(np.eye(3), np.arange(3), list("abc")).top5 is None


def test_bad_scores() -> None:
    with pytest.raises(FloatingPointError):
        compute_metrics(np.full((2, 3), np.nan), np.array([0, 1]), list("abc"))
    with pytest.raises(ValueError, match="no test clips"):
        compute_metrics(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), list("abc"))
