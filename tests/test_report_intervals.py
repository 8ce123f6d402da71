"""Intervals over seeds, and differences paired by seed."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import record, write_run

from petl_bench.report.collect import Row, compare
from petl_bench.report.intervals import interval, t_cumulative, t_quantile
from petl_bench.report.paired import paired, single
from petl_bench.report.paper_numbers import Paper
from petl_bench.report.runs import read_runs

# Pearson and Hartley, Biometrika Tables for Statisticians, table 12: probability, degrees of freedom -> t
TABLE = {
    (0.975, 1): 12.706,
    (0.975, 2): 4.303,
    (0.975, 3): 3.182,
    (0.975, 4): 2.776,
    (0.975, 7): 2.365,
    (0.975, 10): 2.228,
    (0.975, 30): 2.042,
    (0.975, 120): 1.980,
    (0.995, 2): 9.925,
    (0.995, 5): 4.032,
    (0.95, 8): 1.860,
    (0.9, 3): 1.638,
}


@pytest.mark.parametrize(("probability", "freedom"), TABLE)
def test_t_against_a_printed_table(probability: float, freedom: int) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(TABLE[probability, freedom], abs=6e-4)


@pytest.mark.parametrize(("t", "freedom"), [*itertools.product([0.3, 1.0, 4.3], [1, 2, 3, 4, 9])])
def test_the_finite_sum_against_the_density(t: float, freedom: int) -> None:
    """Student's density from the gamma function, added up in narrow strips."""
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    middle = (np.arange(200_000) + 0.5) * t / 200_000
    density = scale * (1 + middle**2 / freedom) ** (-(freedom + 1) / 2)
    assert t_cumulative(t, freedom) == pytest.approx(0.5 + float(density.sum()) * t / 200_000, abs=1e-9)


def test_interval_by_hand() -> None:
    values = [1.0, 2.0, 6.0]
    found = interval(values)
    half = 4.302653 * statistics.stdev(values) / math.sqrt(3)
    assert (found.mean, found.n) == (3.0, 3)
    assert found.low == pytest.approx(3 - half, abs=1e-5)
    assert found.high == pytest.approx(3 + half, abs=1e-5)
    assert interval([4.0]).low is None
    same = interval([2.5, 2.5])
    assert (same.low, same.high) == (2.5, 2.5)
    with pytest.raises(ValueError, match="no values"):
        interval([])


def rows(tmp_path: Path, records: list[dict[str, Any]]) -> dict[str, Row]:
    for data in records:
        write_run(tmp_path, data)
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([]))
    return {row.label: row for row in found.rows}


def test_pairs_are_of_one_seed_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    a = [record("a", seed, top1) for seed, top1 in ((0, 50.0), (1, 61.0), (2, 70.0), (4, 90.0))]
    b = [record("b", seed, top1) for seed, top1 in ((2, 60.0), (0, 45.0), (1, 60.0), (3, 10.0))]
    both = rows(tmp_path, [*a, *b])
    found = paired(both["a"], both["b"], lambda run: run.metrics.top1)
    assert found.values == {0: 5.0, 1: 1.0, 2: 10.0}
    assert found.dropped == ("seed 3: no finished run of a", "seed 4: no finished run of b")
    ratio = paired(both["a"], both["b"], lambda run: run.metrics.top1, lambda x, y: x / y)
    assert ratio.values[2] == pytest.approx(70 / 60)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config__recipe__epochs": 30}, "recipe.epochs differs (4, 30)"),
        ({"provenance__data_sha256": "ee" * 32}, "hash of the data differs (cdcdcdcdcdcd, eeeeeeeeeeee)"),
        ({"backbone": "other"}, "backbone differs (tiny_clip, other)"),
        ({"config__dataset__fraction": 0.5}, "share of the clips differs (1, 0.5)"),
    ],
)
def test_runs_under_other_conditions_are_no_pair(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    both = rows(tmp_path, [record("a", 0), record("b", 0), record("a", 1), record("b", 1, **changes)])
    found = paired(both["a"], both["b"], lambda run: run.metrics.top1)
    assert list(found.values) == [0]
    assert found.dropped == (f"seed 1: {reason}",)


def test_another_learning_rate_is_no_other_condition(tmp_path: Path) -> None:
    both = rows(tmp_path, [record("a", 0), record("b", 0, config__recipe__validate_every=2)])
    assert paired(both["a"], both["b"], lambda run: run.metrics.top1).values == {0: 0.0}


def test_what_was_not_measured_is_dropped(tmp_path: Path) -> None:
    both = rows(tmp_path, [record("a", 0, metrics__top1_shuffled=40.0), record("a", 1)])
    found = single(both["a"], lambda run: run.metrics.top1_shuffled)
    assert found.values == {0: 40.0}
    assert found.dropped == ("seed 1: not measured in a",)
