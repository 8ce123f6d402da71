"""What claims say where runs are missing: what is missing, and the command that makes it."""

from __future__ import annotations

from pathlib import Path

from claim_runs import claim, judged, runs

from petl_bench.report.claim_needs import command
from petl_bench.report.claim_text import missing_lines

THREE = (
    claim(id="few", than="full", above=0),
    claim(id="none", than="prompt", above=0),
    claim(id="swept", than={"method": "st_adapter", "vary": "kernel", "time": 1}, above=0),
)


def test_what_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    records = [
        data | {"suite": "embedded"} for data in [*runs("st_adapter", 90.0, 91.0), *runs("full", 80.0, 81.0)]
    ]
    few, none, swept = judged(tmp_path, records, *THREE)
    run = "petl-bench run --suite embedded"
    assert command(few) == f"{run} --dataset synth_motion --methods st_adapter,full --seeds 0,1,2"
    assert none.missing == ("no finished run of prompt",)
    assert command(none) == f"{run} --dataset synth_motion"
    assert swept.missing == ("no finished run of st_adapter with other kernel",)
    assert command(swept) == f"{run}_ablations --dataset synth_motion"


def test_runs_of_no_suite_need_their_own_command(tmp_path: Path) -> None:
    """No suite's command would fill the gap: claims are judged within a suite, here that of an own data set."""
    records = [data | {"suite": "mine"} for data in [*runs("st_adapter", 90.0), *runs("full", 80.0)]]
    few, none, swept = judged(tmp_path, records, *THREE)
    own = "the command that made these runs, with --methods"
    assert command(few) == f"{own} st_adapter,full --seeds 0,1,2"
    assert command(none) == f"{own} prompt"
    assert command(swept) is None


def test_claims_that_lack_seeds_share_a_line_and_a_command(tmp_path: Path) -> None:
    than = {"full": 0, "prompt": 1}
    one = judged(
        tmp_path,
        [run for method in ("st_adapter", *than) for run in runs(method, 80.0)],
        *(claim(id=f"2{i}", than=method, above=0) for method, i in than.items()),
        claim(id="many", than="full", above=0, runs=5),
        claim(id="none", of="st_adapter", than="adapter", above=0),
    )
    run = "petl-bench run --suite demo --dataset synth_motion"
    assert missing_lines(one) == [
        "20, 21: 1 of the 3 seeds that are needed. To run: "
        f"{run} --methods st_adapter,full,prompt --seeds 0,1,2",
        f"many: 1 of the 5 seeds that are needed. To run: {run} --methods st_adapter,full --seeds 0,1,2,3,4",
        "none: no finished run of adapter. To run: petl-bench run --suite embedded --dataset synth_motion",
    ]


def test_a_seed_that_was_dropped_is_named(tmp_path: Path) -> None:
    (found,) = judged(
        tmp_path,
        [*runs("st_adapter", 80.0, 81.0), *runs("full", 70.0)],
        claim(than="full", above=0),
    )
    (line,) = missing_lines([found])
    assert "st_adapter - full: 1 pair of the 3 that are needed (no finished run of full, seed 1)" in line
