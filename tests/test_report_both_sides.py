"""Corrections for many comparisons on either side of a limit; conditions that one of two runs alone knows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from claim_runs import claim, judged, runs
from report_runs import record, write_run

from petl_bench.report.cautions import cautions_of
from petl_bench.report.collect import Row, compare
from petl_bench.report.intervals import Interval, t_quantile
from petl_bench.report.judge import decide
from petl_bench.report.paired import paired, single
from petl_bench.report.paper_numbers import Paper
from petl_bench.report.runs import read_runs

# Student's t with two degrees of freedom in closed form: t(p) = (2p - 1) sqrt(2 / (4p (1 - p)))


def half_width(comparisons: int) -> float:
    """Half of the interval of three differences with standard deviation 1, at 95 % over all comparisons."""
    p = 1 - 0.05 / comparisons / 2
    return (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))) / math.sqrt(3)


SIDES: list[tuple[dict[str, float], float]] = [
    ({"above": 2.0}, -1.0),  # a limit, and on which side of it the differences refute it
    ({"below": -3.0}, 1.0),
    ({"within": 4.0}, 1.0),
    ({"within": 4.0}, -1.0),
]


@pytest.mark.parametrize(("limit", "side"), SIDES, ids=str)
@pytest.mark.parametrize("others", [0, 1, 5])
@pytest.mark.parametrize("far", [0.98, 1.02])
def test_each_of_several_comparisons_refutes_at_its_share_of_the_error(
    limit: dict[str, float], side: float, others: int, far: float, tmp_path: Path
) -> None:
    """Just within and just beyond what Bonferroni's correction leaves; the other comparisons support the claim."""
    (value,) = limit.values()
    edge = value if "within" not in limit else side * value
    mean = edge + side * half_width(1 + others) * far
    spread = (-1.0, 0.0, 1.0)  # a standard deviation of 1
    ours = (50.0, 50.0, 50.0)
    odd = [50.0 - mean - s for s in spread]
    good = edge - side * (8 if "within" not in limit else 4)  # far on the side that supports the claim
    records = [*runs("st_adapter", *ours), *runs("odd", *odd)]
    for i in range(others):
        records += runs(f"m{i}", *(50.0 - good - 0.01 * s for s in spread))
    asked = claim(than=["odd", *(f"m{i}" for i in range(others))], **limit)
    (found,) = judged(tmp_path, records, asked)
    assert len(found.contrasts) == 1 + others
    assert found.contrasts[0].name == "st_adapter - odd"  # the weakest for the claim first
    assert {c.verdict for c in found.contrasts[1:]} <= {"supported"}
    assert found.verdict == ("not supported" if far > 1 else "undecided")


@pytest.mark.parametrize(("limit", "side"), SIDES, ids=str)
def test_support_needs_no_correction(limit: dict[str, float], side: float, tmp_path: Path) -> None:
    """Where all must hold, each is asked at 95 %: on three comparisons just within what supports."""
    (value,) = limit.values()
    edge = value if "within" not in limit else side * value
    for far, verdict in ((1.02, "supported"), (0.98, "undecided")):
        mean = edge - side * half_width(1) * far
        theirs = [50.0 - mean - s for s in (-1.0, 0.0, 1.0)]
        if "within" in limit and abs(mean) + half_width(1) > value and verdict == "supported":
            continue  # the interval is wider than the range
        records = [*runs("st_adapter", 50.0, 50.0, 50.0)]
        for i in range(3):
            records += runs(f"m{i}", *theirs)
        (found,) = judged(tmp_path / verdict, records, claim(than=["m0", "m1", "m2"], **limit))
        assert found.verdict == verdict


def test_the_interval_that_refutes_is_the_wider_one() -> None:
    narrow, wide = Interval(0.0, -1.0, 1.0, 3), Interval(0.0, -5.0, 5.0, 3)
    for limit in ({"above": 2.0}, {"below": -2.0}):
        assert decide(claim(**limit), narrow) == "not supported"
        assert decide(claim(**limit), narrow, wide) == "undecided"
    assert decide(claim(above=-2.0), narrow, wide) == decide(claim(below=2.0), narrow, wide) == "supported"
    far = Interval(9.0, 8.0, 10.0, 3)
    assert decide(claim(within=2.0), far) == "not supported"
    assert decide(claim(within=2.0), far, Interval(9.0, 1.0, 17.0, 3)) == "undecided"
    assert decide(claim(above=1.0, runs=1), Interval(1.5, None, None, 1)) == "supported"
    assert decide(claim(below=1.0, runs=1), Interval(1.5, None, None, 1)) == "not supported"


# --- conditions that one side alone knows


def rows(tmp_path: Path, records: list[dict[str, Any]]) -> dict[str, Row]:
    for data in records:
        write_run(tmp_path, data)
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([]))
    return {row.label: row for row in found.rows}


ONE_SIDED = [
    ({"config__recipe__label_smoothing": 0.1}, "recipe.label_smoothing differs"),
    ({"config__dataset__views": {"temporal": 3}}, "dataset.views.temporal differs"),
    ({"config__dataset__augment": {"flip": False}}, "dataset.augment.flip differs"),
]


@pytest.mark.parametrize(("changes", "reason"), ONE_SIDED)
@pytest.mark.parametrize("left", [True, False])
def test_a_condition_that_one_run_alone_names_is_no_equal(
    changes: dict[str, Any], reason: str, left: bool, tmp_path: Path
) -> None:
    odd, plain = record("a" if left else "b", 0, **changes), record("b" if left else "a", 0)
    both = rows(tmp_path, [odd, plain, record("a", 1), record("b", 1)])
    found = paired(both["a"], both["b"], lambda run: run.metrics.top1)
    assert list(found.values) == [1]
    (line,) = found.dropped
    value = next(iter(changes.values()))
    value = next(iter(value.values())) if isinstance(value, dict) else value
    said = "no" if value is False else f"{value:g}"
    pair = f"({said}, not recorded)" if left else f"(not recorded, {said})"
    assert line == f"seed 0: {reason} {pair}"


@pytest.mark.parametrize("left", [True, False])
def test_runs_without_provenance_are_no_pair_of_those_with_it(left: bool, tmp_path: Path) -> None:
    bare, full = ("a", "b") if left else ("b", "a")
    both = rows(tmp_path, [record(bare, 0, provenance=None), record(full, 0)])
    found = paired(both["a"], both["b"], lambda run: run.metrics.top1)
    assert not found.values and "hash of the backbone differs" in found.dropped[0]
    neither = rows(tmp_path / "x", [record("a", 0, provenance=None), record("b", 0, provenance=None)])
    assert paired(neither["a"], neither["b"], lambda run: run.metrics.top1).values == {0: 0.0}


@pytest.mark.parametrize("label", ["a", "c"])
def test_a_condition_that_one_row_alone_names_is_a_warning(label: str, tmp_path: Path) -> None:
    records = [record(name, **({"config__recipe__mixup": 0.2} if name == label else {})) for name in "abc"]
    for data in records:
        write_run(tmp_path, data)
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([]))
    (caution,) = cautions_of(found)
    others = ", ".join(sorted(set("abc") - {label}))
    assert caution.headline == "Accuracies are not comparable"
    assert caution.lines == (f"recipe.mixup: 0.2 in {label}; not recorded in {others}",)


def test_numbers_that_one_of_two_runs_has(tmp_path: Path) -> None:
    shuffled = {"metrics__top1_shuffled": 40.0}
    both = rows(
        tmp_path, [record("a", 0, **shuffled), record("b", 0), record("a", 1), record("b", 1, **shuffled)]
    )
    found = paired(both["a"], both["b"], lambda run: run.metrics.top1_shuffled)
    assert not found.values
    assert found.dropped == ("seed 0: not measured in b", "seed 1: not measured in a")
    assert single(both["b"], lambda run: run.metrics.top1_shuffled).values == {1: 40.0}


@pytest.mark.parametrize("how", [{}, {"as": "ratio"}])
@pytest.mark.parametrize("measure", ["compute_seconds", "peak_memory_mb"])
def test_costs_are_compared_on_one_machine_alone(measure: str, how: dict[str, str], tmp_path: Path) -> None:
    asked = claim(measure=measure, than="full", below=1000.0, runs=1, **how)
    same = [*runs("st_adapter", 90.0), *runs("full", 90.0)]
    (found,) = judged(tmp_path / "same", same, asked)
    assert found.verdict == "supported"
    other = [*runs("st_adapter", 90.0), *runs("full", 90.0, provenance__device="NVIDIA H100")]
    (found,) = judged(tmp_path / "other", other, asked)
    assert found.verdict == "not enough runs" and "device differs" in found.missing[0]
    (found,) = judged(tmp_path / "top1", other, claim(than="full", within=1.0, runs=1))
    assert found.verdict == "supported"  # an accuracy hangs on no machine


def test_quantiles_that_make_no_sense_are_refused() -> None:
    for probability, freedom in ((0.49, 3), (1.0, 3), (0.9, 0), (0.9, -1)):
        with pytest.raises(ValueError, match=f"probability {probability}, {freedom} degrees"):
            t_quantile(probability, freedom)
    assert t_quantile(0.5, 1) == pytest.approx(0, abs=1e-9)
