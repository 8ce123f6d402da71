"""A number measured over seeds, and how numbers are written for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NO_DATA = ""


@dataclass(frozen=True)
class Measure:
    """Mean, sample standard deviation (n - 1; None for one value) and count of one quantity over seeds."""

    mean: float
    std: float | None
    n: int


def measure(values: Iterable[float | None]) -> Measure | None:
    """The mean and the sample standard deviation of the values that are there; None if there is none."""
    present = [v for v in values if v is not None]
    if not present:
        return None
    mean = math.fsum(present) / len(present)
    return Measure(mean, _spread(present, mean) if len(present) > 1 else None, len(present))


def _spread(values: Sequence[float], mean: float) -> float:
    """The sample standard deviation. `statistics.stdev` computes it in fractions, thirty times slower."""
    if min(values) == max(values):  # the mean of equal values may be rounded
        return 0.0
    distances = [value - mean for value in values]
    return math.sqrt(math.fsum([d * d for d in distances]) / (len(values) - 1))


def percent(value: Measure | None) -> str:
    """Percent to one decimal with the spread where one is known: `92.3 ± 0.6`, `92.3`."""
    if value is None:
        return NO_DATA
    return f"{value.mean:.1f}" if value.std is None else f"{value.mean:.1f} ± {value.std:.1f}"


def digits(value: float | None) -> str:
    """Three significant digits, or all before the point: `0.0123`, `4.56`, `152`, `1821`."""
    if value is None:
        return NO_DATA
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    # rounding may add a digit: 9.996 -> 10.0
    decimals = max(0, 2 - math.floor(math.log10(abs(round(value, decimals) or 1.0))))
    return f"{value:.{decimals}f}"


def count(value: float | None) -> str:
    """A count in three digits: `0`, `640`, `2.05k`, `332k`, `121.57M` (one hundred million and more keep two
    decimals, as the paper writes them)."""
    return NO_DATA if value is None else _scaled(value, 1000, ("", "k", "M", "G"))


def size(bytes_: float | None) -> str:
    """A file size in three digits: `640 B`, `268 kB`, `28.4 MB`."""
    return NO_DATA if bytes_ is None else _scaled(bytes_, 1000, (" B", " kB", " MB", " GB"))


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    unit = 0
    # 999.5 would be written as 1000: it belongs to the next unit
    while abs(value) >= base - 0.5 and unit < len(units) - 1:
        value /= base
        unit += 1
    if unit == 0:
        return f"{value:.0f}{units[0]}"
    text = f"{value:.2f}" if units[unit] == "M" and value >= 100 else digits(value)
    return text + units[unit]
