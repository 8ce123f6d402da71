"""Claims: which rows they compare, and when they hold."""

from __future__ import annotations

import csv
import statistics
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from claim_runs import claim, judged, runs
from report_runs import record, variant, write_run
from rich.console import Console

from petl_bench.errors import UserError
from petl_bench.report import load_claims, render_report, write_claims
from petl_bench.report.claim_needs import command
from petl_bench.report.intervals import Interval
from petl_bench.report.judge import Judged, decide


@pytest.mark.parametrize(
    ("limit", "low", "high", "verdict"),
    [
        ({"above": 0}, 0.1, 2.0, "supported"),
        ({"above": 0}, 0.0, 2.0, "undecided"),
        ({"above": 0}, -1.0, 0.0, "not supported"),
        ({"above": 0}, -1.0, 0.01, "undecided"),
        ({"above": -1}, -0.9, 0.3, "supported"),
        ({"above": -1}, -3.0, -1.0, "not supported"),
        ({"below": 1}, 0.2, 0.9, "supported"),
        ({"below": 1}, 0.2, 1.0, "undecided"),
        ({"below": 1}, 1.0, 1.3, "not supported"),
        ({"within": 2}, -2.0, 2.0, "supported"),
        ({"within": 2}, -2.1, 1.0, "undecided"),
        ({"within": 2}, 2.1, 5.0, "not supported"),
        ({"within": 2}, -5.0, -2.1, "not supported"),
    ],
)
def test_the_side_of_the_limit_decides(
    limit: dict[str, float], low: float, high: float, verdict: str
) -> None:
    asked = claim(**limit)
    assert decide(asked, Interval((low + high) / 2, low, high, 3)) == verdict
    assert decide(asked, Interval((low + high) / 2, low, high, 2)) == "not enough runs"
    assert decide(asked, None) == "not enough runs"


def test_two_methods_by_hand(tmp_path: Path) -> None:
    ours, theirs = (90.0, 91.0, 95.0), (89.0, 91.5, 91.0)
    (found,) = judged(
        tmp_path,
        [*runs("st_adapter", *ours), *runs("full", *theirs)],
        claim(than="full", above=-1.0),
    )
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    half = 4.302653 * statistics.stdev(differences) / 3**0.5
    shown = found.contrasts[0].interval
    assert shown is not None
    assert shown.mean == pytest.approx(statistics.mean(differences))
    assert shown.low == pytest.approx(shown.mean - half, abs=1e-5)
    assert shown.high == pytest.approx(shown.mean + half, abs=1e-5)
    assert found.verdict == "undecided"
    assert (found.suite, found.dataset, found.backbone) == ("demo", "synth_motion", "tiny_clip")


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ((80.0, 80.5, 81.0), "supported"),
        ((90.5, 91.4, 92.6), "supported"),  # a little better than ours, by less than the margin
        ((95.0, 95.5, 97.0), "not supported"),
        ((80.0, 95.0, 91.0), "undecided"),
        ((80.0, 81.0), "not enough runs"),
    ],
)
def test_not_worse_by_more_than_a_margin(tmp_path: Path, theirs: tuple[float, ...], verdict: str) -> None:
    records = [*runs("st_adapter", 90.0, 91.0, 92.0), *runs("full", *theirs)]
    (found,) = judged(tmp_path, records, claim(than="full", above=-1.0))
    assert found.verdict == verdict


def test_two_seeds_give_an_interval_and_no_verdict(tmp_path: Path) -> None:
    (found,) = judged(
        tmp_path,
        [*runs("st_adapter", 90.0, 91.0, 92.0), *runs("full", 80.0, 81.5)],
        claim(than="full", above=0),
    )
    assert found.verdict == "not enough runs"
    assert found.contrasts[0].numbers.values == {0: 10.0, 1: 9.5}
    shown = found.contrasts[0].interval
    assert shown is not None
    assert shown.low == pytest.approx(9.75 - 12.7062 * statistics.stdev([10, 9.5]) / 2**0.5, abs=1e-3)
    assert found.missing == (
        "st_adapter - full: 2 pairs of the 3 that are needed (no finished run of full, seed 2)",
    )


def test_a_claim_whose_subject_is_not_there_is_not_asked(tmp_path: Path) -> None:
    assert judged(tmp_path, runs("full", 1.0, 2.0, 3.0), claim(than="full", above=0)) == []


def test_every_comparison_must_hold(tmp_path: Path) -> None:
    asked = claim(than=["adapter", "prompt"], above=0)
    records = [*runs("st_adapter", 90.0, 91.0, 92.0), *runs("adapter", 80.0, 81.0, 82.5)]
    (both,) = judged(tmp_path / "a", [*records, *runs("prompt", 70.0, 71.0, 72.5)], asked)
    assert both.verdict == "supported"
    assert [c.name for c in both.contrasts] == [
        "st_adapter - adapter",
        "st_adapter - prompt",
    ]  # weakest first
    (one,) = judged(tmp_path / "b", [*records, *runs("prompt", 90.0, 90.0, 92.1)], asked)
    assert one.verdict == "undecided"
    (refuted,) = judged(tmp_path / "c", [*records, *runs("prompt", 95.0, 96.1, 97.0)], asked)
    assert refuted.verdict == "not supported"
    assert refuted.contrasts[0].name == "st_adapter - prompt"
    (lacking,) = judged(tmp_path / "d", records, asked)
    assert lacking.verdict == "not enough runs"


def test_one_of_many_refutes_only_after_the_correction(tmp_path: Path) -> None:
    """-1 ± 0.9 at 95 %: refuted alone, but not as one of six, where the interval is wider than -1 ± 1."""
    losing = (91.0, 92.0 - 0.36, 93.0 + 0.36)  # differences -1, -0.64, -1.36
    ours = runs("st_adapter", 90.0, 91.0, 92.0)
    (alone,) = judged(tmp_path / "a", [*ours, *runs("m0", *losing)], claim(than="m0", above=0))
    assert alone.verdict == "not supported"
    others = [run for i in range(1, 6) for run in runs(f"m{i}", 50.0, 51.5, 52.0)]
    asked = claim(than=[f"m{i}" for i in range(6)], above=0)
    (many,) = judged(tmp_path / "b", [*ours, *runs("m0", *losing), *others], asked)
    assert many.contrasts[0].verdict == "not supported"
    assert many.verdict == "undecided"


def test_share_of_the_parameters_needs_one_run(tmp_path: Path) -> None:
    asked = claim(measure="trained_share", below=8, runs=1)
    (found,) = judged(tmp_path / "a", [record(params=67_000)], asked)
    shown = found.contrasts[0].interval
    assert shown is not None
    # 67,000 and a head of 516, of these and a frozen million
    assert shown.mean == pytest.approx(100 * 67_516 / 1_067_516)
    assert found.verdict == "supported"
    (large,) = judged(tmp_path / "b", [record(params=87_000)], asked)
    assert large.verdict == "not supported"


def test_ratios_of_costs_need_the_same_machine(tmp_path: Path) -> None:
    asked = claim(measure="compute_seconds", than="full", below=1, **{"as": "ratio"})
    ours, theirs = (50.0, 52.0, 51.0), (100.0, 101.0, 99.0)
    records = [
        record(method, seed, cost__compute_seconds=value)
        for method, values in (("st_adapter", ours), ("full", theirs))
        for seed, value in enumerate(values)
    ]
    (found,) = judged(tmp_path / "a", records, asked)
    shown = found.contrasts[0].interval
    assert shown is not None
    assert shown.mean == pytest.approx(statistics.mean(a / b for a, b in zip(ours, theirs, strict=True)))
    assert found.verdict == "supported"
    records[-1]["provenance"]["device"] = "NVIDIA H100"
    (other,) = judged(tmp_path / "b", records, asked)
    assert other.verdict == "not enough runs"
    assert "device differs (cpu, NVIDIA H100), seed 2" in other.missing[0]


def test_shuffled_frames(tmp_path: Path) -> None:
    asked = claim(measure="shuffled_drop", above=0)
    measured = [record(seed=s, top1=80.0, metrics__top1_shuffled=v) for s, v in enumerate((60.0, 62.0, 61.0))]
    (found,) = judged(tmp_path / "a", measured, asked)
    assert found.contrasts[0].numbers.values == {0: 20.0, 1: 18.0, 2: 19.0}
    assert found.verdict == "supported"
    (none,) = judged(
        tmp_path / "b", [data | {"suite": "embedded"} for data in runs("st_adapter", 1, 2, 3)], asked
    )
    assert none.verdict == "not enough runs"
    assert command(none) == (
        "petl-bench run --suite embedded --dataset synth_motion --methods st_adapter --overwrite"
    )


def on_both(lead_motion: float, lead_appearance: float) -> list[dict[str, Any]]:
    """Three seeds of two methods on two data sets; the lead grows by 0.5 and 0.25 with the seed."""
    out = []
    for seed in range(3):
        for dataset, lead in (
            ("synth_motion", lead_motion + 0.5 * seed),
            ("synth_appearance", lead_appearance + 0.25 * seed),
        ):
            for method, top1 in (("st_adapter", 50.0 + lead), ("adapter", 50.0)):
                out.append(record(method, seed, top1, dataset=dataset))
    return out


@pytest.mark.parametrize(
    ("motion", "appearance", "verdict"),
    [(20.0, 5.0, "supported"), (5.0, 20.0, "not supported"), (5.0, 5.0, "undecided")],
)
def test_a_difference_of_differences(tmp_path: Path, motion: float, appearance: float, verdict: str) -> None:
    asked = claim(than=["adapter"], more_on_temporal=True, above=0)
    (found,) = judged(
        tmp_path,
        on_both(motion, appearance),
        asked,
        temporal=["synth_motion"],
        appearance=["synth_appearance"],
    )
    lead = motion - appearance
    assert found.contrasts[0].numbers.values == {0: lead, 1: lead + 0.25, 2: lead + 0.5}
    assert found.dataset == "synth_motion, synth_appearance"
    assert found.verdict == verdict


def test_a_difference_of_differences_needs_both_data_sets(tmp_path: Path) -> None:
    asked = claim(than=["adapter"], more_on_temporal=True, above=0)
    records = [
        data | {"suite": "embedded"} for data in on_both(9.0, 1.0) if data["dataset"] == "synth_appearance"
    ]
    (found,) = judged(
        tmp_path, records, asked, temporal=["ssv2", "synth_motion"], appearance=["synth_appearance"]
    )
    assert found.verdict == "not enough runs"
    assert found.missing == ("no finished run of st_adapter on any of ssv2, synth_motion",)
    assert command(found) == "petl-bench run --suite embedded --dataset synth_motion"


def sweep(**tops: tuple[float, dict[str, Any]]) -> list[dict[str, Any]]:
    """Three seeds of each variant, with a little noise that is not the same in all."""
    out = []
    for i, (name, (top1, changed)) in enumerate(tops.items()):
        label = "" if name == "base" else name
        out += [variant(label, s, top1 + s + 0.1 * ((s + i) % 3), **changed) for s in range(3)]
    return out


def names(found: Judged) -> set[str]:
    return {c.name.replace("st_adapter@", "") for c in found.contrasts}


def test_widths_in_a_range_are_compared_with_each_other(tmp_path: Path) -> None:
    asked = claim(of=None, among={"method": "st_adapter", "vary": "width", "share": [0.25, 2]}, within=2.0)
    tops: dict[str, tuple[float, dict[str, Any]]] = {
        "base": (80.0, {}),  # of width 64
        "w8": (60.0, {"width": 8}),  # outside the range
        "w16": (79.5, {"width": 16}),
        "w128": (80.5, {"width": 128}),
    }
    (found,) = judged(tmp_path / "a", sweep(**tops), asked)
    assert names(found) == {"w128 - st_adapter", "w128 - w16", "st_adapter - w16"}
    assert found.contrasts[0].name == "st_adapter@w128 - st_adapter@w16"
    assert found.verdict == "supported"
    (far,) = judged(tmp_path / "b", sweep(**{**tops, "w16": (77.0, {"width": 16})}), asked)
    assert far.verdict == "not supported"
    (few,) = judged(tmp_path / "c", sweep(base=tops["base"], w8=tops["w8"], w16=tops["w16"]), asked)
    assert few.verdict == "not enough runs"
    assert few.missing == ("fewer than 3 rows of st_adapter with other width (share 0.25 to 2)",)


def test_places_blocks_and_kernels_that_a_claim_selects(tmp_path: Path) -> None:
    records = sweep(
        base=(80.0, {}),
        after=(79.0, {"positions": ["after_attn"]}),
        both=(81.0, {"positions": ["before_attn", "before_mlp"]}),
        first1=(60.0, {"blocks": [0]}),
        last1=(65.0, {"blocks": [-1]}),
        first2=(70.0, {"blocks": [0, 1]}),
        last2=(75.0, {"blocks": [-2, -1]}),
        last3=(79.0, {"blocks": [-3, -2, -1]}),
        k111=(40.0, {"kernel": [1, 1, 1]}),
        k133=(42.0, {"kernel": [1, 3, 3]}),
        k333=(80.0, {"kernel": [3, 3, 3]}),
    )
    shipped = {c.id: c for c in load_claims().claims}
    found = {
        j.claim.id: j
        for j in judged(tmp_path, records, *(shipped[i] for i in ("3c", "4b", "4c", "4d", "4e")))
    }
    assert names(found["3c"]) == {"st_adapter - k111"}
    assert names(found["4b"]) == {"st_adapter - after"}  # both places are not another single place
    assert names(found["4c"]) == {"last1 - first1", "last2 - first2"}
    assert names(found["4d"]) == {f"st_adapter - {b}" for b in ("first1", "last1", "first2", "last2")}
    assert names(found["4e"]) == {f"{a} - {b}" for a in ("st_adapter", "k333") for b in ("k111", "k133")}
    assert {j.verdict for j in found.values()} == {"supported"}


def test_runs_on_less_data_are_not_the_base(tmp_path: Path) -> None:
    records = []
    for method, gain in (("st_adapter", 5.0), ("full", 0.0)):
        for share in (0.5, 1.0):
            label = method if share == 1 else f"{method}@fraction=0.5"
            for seed in range(3):
                top1 = 50 + 20 * share + gain * share + 0.1 * seed
                data = record(label, seed, top1, method=method, config__dataset__fraction=share)
                records.append(data)
    (found,) = judged(tmp_path, records, claim(than="full", above=0))
    assert found.contrasts[0].numbers.values == pytest.approx({0: 5.0, 1: 5.0, 2: 5.0})


def test_the_shipped_claims_cover_the_findings() -> None:
    shipped = load_claims()
    assert set(shipped.findings) == {1, 2, 3, 4, 5}
    assert {c.finding for c in shipped.claims} == set(shipped.findings)
    against = {(c.id, rows.method) for c in shipped.claims for rows in c.than}
    assert {m for i, m in against if i.startswith("2")} == {"adapter", "prompt", "partial", "linear_probe"}
    varied = {rows.vary for c in shipped.claims for rows in (c.subject, *c.than) if rows.vary}
    assert varied == {"kernel", "width", "positions", "blocks"}
    (share,) = (c for c in shipped.claims if c.measure == "trained_share")
    assert share.below == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: [{id: 1, statement: s, measure: top1, of: a}]", "one of `above`, `below` and `within`"),
        ("claims: [{id: 1, statement: s, measure: top_1, of: a, above: 0}]", r"claims\.0\.measure"),
        ("claims: [{id: 1, statement: s, measure: top1, above: 0}]", "needs `of` or `among`"),
        (
            "claims: [{id: 1, statement: s, measure: top1, of: {method: a, time: 1}, above: 0}]",
            "only with `vary`",
        ),
        ("claims: [{id: 1, statement: s, measure: top1, of: a, beats: b, above: 0}]", "beats"),
        (
            "claims: [{id: a, statement: s, measure: top1, of: a, above: 0}, "
            "{id: a, statement: s, measure: top1, of: a, above: 0}]",
            "stands twice",
        ),
    ],
)
def test_a_bad_file_of_claims_names_the_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_claims(file)


def test_verdicts_are_shown_written_and_gathered(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    for suite, theirs in (("one", (80.0, 80.5, 81.0)), ("two", (95.0, 95.5, 97.0))):
        for data in [*runs("st_adapter", 90.0, 91.0, 92.0), *runs("full", *theirs)]:
            write_run(results, data | {"suite": suite})
    own = tmp_path / "claims.yaml"
    own.write_text(
        "findings: {1: It matches.}\n"
        "claims:\n"
        "- {id: 1a, finding: 1, statement: As good, measure: top1, of: st_adapter, than: full, above: -1}\n"
        "- {id: 1b, finding: 1, statement: Better than x, measure: top1, of: st_adapter, than: x, above: 0}\n"
    )
    known = load_claims(own)
    reports = [render_report(results, out, suite, claims=known) for suite in ("one", "two")]
    page = (out / "one" / "report.md").read_text()
    assert "| 1a    | As good   | synth_motion | tiny_clip | **supported** | st_adapter - full" in page
    assert "1b: no finished run of x" in page
    for width in (60, 80, 140):
        console = Console(width=width, file=StringIO(), color_system=None)
        console.print(reports[1])
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "not supported" in text
        assert max(map(len, text.splitlines())) <= width
    page_of_all, table = write_claims(out, known, [j for report in reports for j in report.judged])
    text = page_of_all.read_text()
    assert "## 1. It matches." in text
    assert "| one   |" in text
    assert "| two   |" in text
    rows = list(csv.DictReader(StringIO(table.read_text())))
    assert [(r["suite"], r["claim"], r["verdict"]) for r in rows] == [
        ("one", "1a", "supported"),
        ("one", "1b", "not enough runs"),
        ("two", "1a", "not supported"),
        ("two", "1b", "not enough runs"),
    ]
    assert float(rows[0]["mean"]) == pytest.approx(10.5)
    assert rows[0]["seeds"] == "0 1 2"
