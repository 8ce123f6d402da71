"""Scores of a test split, from class probabilities. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from petl_bench.records import HeadMetrics, Metrics


def compute_metrics(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    pairs: Sequence[tuple[int, int]] = (),
    validation_top1: float | None = None,
) -> Metrics:
    """Metrics of `scores` (clips, classes), higher is likelier, against `labels` (clips,).

    Pair accuracy is two-alternative: a clip counts as right where its class scores above its time-reversed
    twin, whatever the other classes score.

    Raises:
        FloatingPointError: scores that are not finite.
        ValueError: no clips.
    """
    if not len(labels):
        raise ValueError("no test clips")
    if not np.isfinite(scores).all():
        raise FloatingPointError("test scores are not finite")
    own = scores[np.arange(len(labels)), labels]
    # rank of the right class; ties count against it, so that equal scores never look like knowledge
    rank = (scores >= own[:, None]).sum(1) - 1
    right = rank == 0
    per_class = {
        name: 100 * float(right[labels == c].mean())
        for c, name in enumerate(class_names)
        if (labels == c).any()
    }
    twin = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    per_pair, decided = {}, np.zeros(len(labels), dtype=bool)
    if pairs:
        twins = np.array([twin.get(int(c), -1) for c in labels])
        decided = own > scores[np.arange(len(labels)), twins]
        for a, b in pairs:
            inside = (labels == a) | (labels == b)
            if inside.any():
                per_pair[f"{class_names[a]}/{class_names[b]}"] = 100 * float(decided[inside].mean())
    paired = np.isin(labels, list(twin))
    return Metrics(
        top1=100 * float(right.mean()),
        top5=100 * float((rank < 5).mean()) if scores.shape[1] > 5 else None,
        mean_class=float(np.mean(list(per_class.values()))),
        pair_accuracy=100 * float(decided[paired].mean()) if pairs and paired.any() else None,
        n_test=len(labels),
        validation_top1=validation_top1,
        per_class=per_class,
        per_pair=per_pair,
    )


def compute_head_metrics(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    heads: Mapping[str, int],
    validation_top1: float | None = None,
) -> Metrics:
    """Metrics where a label is several at once: of the combination, and of each head.

    The score of a combination is the product of its heads' scores.

    Args:
        scores: (clips, sum of the heads' sizes), the heads side by side.
        labels: (clips,), index of the combination, the last head running fastest.
        heads: name -> classes.

    Raises:
        FloatingPointError: scores that are not finite.
        ValueError: no clips.
    """
    sizes = tuple(heads.values())
    parts = np.split(scores, np.cumsum(sizes)[:-1], axis=1)
    each = {
        name: compute_metrics(part, own, [str(c) for c in range(part.shape[1])])
        for (name, part), own in zip(
            zip(heads, parts, strict=True), np.unravel_index(labels, sizes), strict=True
        )
    }
    rank = np.array([_rank_of_product(row, label) for *row, label in zip(*parts, labels, strict=True)])
    right = rank == 0
    return Metrics(
        top1=100 * float(right.mean()),
        top5=100 * float((rank < 5).mean()) if math.prod(sizes) > 5 else None,
        mean_class=100 * float(np.mean([right[labels == c].mean() for c in np.unique(labels)])),
        n_test=len(labels),
        validation_top1=validation_top1,
        heads={n: HeadMetrics(top1=m.top1, top5=m.top5, mean_class=m.mean_class) for n, m in each.items()},
    )


def _rank_of_product(parts: Sequence[NDArray[np.float64]], label: int) -> int:
    """Rank of a combination among all, by the product of scores; ties count against it."""
    products = parts[0]
    for part in parts[1:]:
        products = np.multiply.outer(products, part)
    flat = products.reshape(-1)
    return int((flat >= flat[label]).sum()) - 1
