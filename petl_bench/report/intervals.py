"""Confidence intervals of means over few seeds: Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over n values and its two-sided t-interval; without limits for one value."""

    mean: float
    low: float | None
    high: float | None
    n: int


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of independent values and the t-interval of their expectation. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, None, None, 1)
    half = t_quantile(0.5 + confidence / 2, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half, len(values))


@lru_cache
def t_quantile(probability: float, freedom: int) -> float:
    """The t below which a share `probability` (between 0.5 and 1) of Student's distribution lies."""
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"probability {probability}, {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while t_cumulative(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        if t_cumulative(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_cumulative(t: float, freedom: int) -> float:
    """The share of Student's distribution below t >= 0.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4: a finite sum for
    whole degrees of freedom.
    """
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, cosine if freedom > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    inside = math.sin(angle) * total
    if odd:
        inside = 2 / math.pi * (angle + inside)
    return 0.5 + inside / 2
