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


def test_a_pair_counts_the_clips_of_both_classes() -> None:
    """Class 0 is always told from 1, class 1 in one of four clips, 2 and 3 have no clip, 4 no twin."""
    labels = np.array([0, 0, 1, 1, 1, 1, 4])
    scores = np.zeros((7, 6))
    scores[[0, 1, 2], labels[:3]] = (
        0.5  # three of the six clips of the pair; the others score the twin higher
    )
    scores[[3, 4, 5], 0] = 0.5
    scores[:, 5] = 1  # which changes the top-1 and not the pairs
    m = compute_metrics(scores, labels, list("abcdef"), [(0, 1), (2, 3)], 61.5)
    assert m.per_pair == {"a/b": 50.0}
    assert m.pair_accuracy == 50.0
    assert m.top1 == 0 and m.validation_top1 == 61.5
    assert m.per_class == {"a": 0.0, "b": 0.0, "e": 0.0}
    only = compute_metrics(scores[6:], labels[6:], list("abcdef"), [(0, 1)])
    assert (only.pair_accuracy, only.per_pair) == (None, {})
    backwards = compute_metrics(scores, labels, list("abcdef"), [(1, 0)])
    assert backwards.per_pair == {"b/a": 50.0}
    assert compute_metrics(scores, labels, list("abcdef")).pair_accuracy is None


@pytest.mark.parametrize(("classes", "expected"), [(2, None), (5, None), (6, 50.0)])
def test_top5_needs_a_sixth_class(classes: int, expected: float | None) -> None:
    """Of five classes it would be 100 whatever was learned."""
    scores = np.tile(np.arange(classes, dtype=float), (2, 1))
    m = compute_metrics(scores, np.array([0, 1]), [str(c) for c in range(classes)])
    assert m.top5 == expected


@pytest.mark.parametrize(("nouns", "expected"), [(2, None), (3, 50.0)])
def test_top5_of_combinations_needs_a_sixth(nouns: int, expected: float | None) -> None:
    """Two verbs and two or three nouns; the right noun is the worst in one clip, the best in the other."""
    verb = np.array([[0.4, 0.6], [0.4, 0.6]])
    noun = np.tile(np.arange(1, nouns + 1) / 10, (2, 1))
    labels = np.array([0, 2 * nouns - 1])
    m = compute_head_metrics(np.hstack([verb, noun]), labels, {"verb": 2, "noun": nouns})
    assert m.top5 == expected
    assert m.top1 == 50.0 and m.heads["verb"].top1 == 50.0 and m.heads["noun"].top1 == 50.0
    assert m.heads["verb"].top5 is None and m.validation_top1 is None


def test_heads_have_top5_and_mean_of_classes_of_their_own() -> None:
    rng = np.random.default_rng(3)
    verb, noun = rng.integers(0, 7, 40), rng.integers(0, 2, 40)
    scores = np.hstack([rng.dirichlet(np.ones(7), 40), rng.dirichlet(np.ones(2), 40)])
    m = compute_head_metrics(scores, verb * 2 + noun, {"verb": 7, "noun": 2})
    ranked = [sorted(range(7), key=lambda c: -row[c]) for row in scores[:, :7].tolist()]
    right = [v in row[:5] for v, row in zip(verb.tolist(), ranked, strict=True)]
    assert m.heads["verb"].top5 == pytest.approx(100 * np.mean(right))
    best = scores[:, 7:].argmax(1) == noun
    of_class = [100 * best[noun == c].mean() for c in range(2)]
    assert m.heads["noun"].mean_class == pytest.approx(np.mean(of_class))
    with pytest.raises(ValueError, match="no test clips"):
        compute_head_metrics(scores[:0], verb[:0], {"verb": 7, "noun": 2})


def test_equal_scores_of_combinations_are_no_knowledge() -> None:
    m = compute_head_metrics(np.full((2, 5), 0.5), np.array([0, 5]), {"a": 2, "b": 3})
    assert (m.top1, m.top5) == (0, 0)


def test_labels_of_several_heads_are_in_mixed_radix() -> None:
    """Three heads, of which the last runs fastest; every clip is right in every head."""
    labels = np.arange(2 * 3 * 4)
    parts = [np.eye(n)[labels // step % n] for n, step in ((2, 12), (3, 4), (4, 1))]
    m = compute_head_metrics(np.hstack(parts) + 0.1, labels, {"a": 2, "b": 3, "c": 4})
    assert m.top1 == 100 and m.mean_class == 100
    assert [h.top1 for h in m.heads.values()] == [100, 100, 100]


def test_mean_over_classes_weighs_classes_alike() -> None:
    labels = np.array([0, 0, 0, 1, 2])
    scores = np.eye(4)[[0, 0, 0, 3, 2]]
    m = compute_metrics(scores, labels, list("abcd"))
    assert (m.top1, m.mean_class) == (80.0, pytest.approx(200 / 3))
