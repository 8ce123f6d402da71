"""Metrics against loops that follow the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from petl_bench.metrics import compute_head_metrics, compute_metrics


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


def test_several_heads_against_loops() -> None:
    """Two heads of 3 and 4 classes: a combination scores the product of both."""
    rng = np.random.default_rng(1)
    verbs, nouns = rng.dirichlet(np.ones(3), 50), rng.dirichlet(np.ones(4), 50)
    verb, noun = rng.integers(0, 3, 50), rng.integers(0, 4, 50)
    m = compute_head_metrics(np.hstack([verbs, nouns]), verb * 4 + noun, {"verb": 3, "noun": 4}, 12.5)
    top1 = top5 = verb_top1 = 0
    actions: dict[tuple[int, int], list[bool]] = {}
    for v_row, n_row, v, n in zip(verbs, nouns, verb, noun, strict=True):
        products = {(a, b): v_row[a] * n_row[b] for a in range(3) for b in range(4)}
        best = sorted(products, key=lambda pair: -products[pair])
        top1 += best[0] == (v, n)
        top5 += (v, n) in best[:5]
        verb_top1 += v_row.argmax() == v
        actions.setdefault((v, n), []).append(best[0] == (v, n))
    assert m.top1 == pytest.approx(2 * top1)
    assert m.top5 == pytest.approx(2 * top5)
    assert m.mean_class == pytest.approx(100 * np.mean([np.mean(r) for r in actions.values()]))
    assert m.heads["verb"].top1 == pytest.approx(2 * verb_top1)
    assert m.heads["noun"].top1 == pytest.approx(2 * (nouns.argmax(1) == noun).sum())
    assert m.heads["noun"].top5 is None
    assert (m.n_test, m.validation_top1, m.per_class) == (50, 12.5, {})
