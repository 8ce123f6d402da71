"""Studies: of settings, of shares of the training clips, of the order of frames."""

from __future__ import annotations

import csv
import statistics
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from report_runs import DEPTH, SETTINGS, WIDTH, adapter_params, record, training_log, variant, write_run
from rich.console import Console

from petl_bench.report import render_report
from petl_bench.report.cautions import cautions_of
from petl_bench.report.collect import Comparison, compare
from petl_bench.report.paper_numbers import Paper
from petl_bench.report.runs import read_runs
from petl_bench.report.setting_text import default_amount, value_text
from petl_bench.report.sweeps import base_of, data_lines, main_rows, sweeps_of, whole_rows

VARIANTS: dict[str, dict[str, Any]] = {
    "width=16": {"width": 16},
    "width=128": {"width": 128},
    "positions=after_attn": {"positions": ["after_attn"]},
    "positions=both": {"positions": ["before_attn", "before_mlp"]},
    "blocks=first1": {"blocks": [0]},
    "blocks=last1": {"blocks": [-1]},
    "blocks=last2": {"blocks": [-2, -1]},
    "kernel=1x1x1": {"kernel": [1, 1, 1]},
    "kernel=3x3x3": {"kernel": [3, 3, 3]},
}


def test_the_name_of_a_backbone_makes_no_variant(tmp_path: Path) -> None:
    """Rows on a suite's further backbone stay in its main table, though they make a study among them."""
    changes = {"st_adapter": {}, "mlp": {"positions": ["before_mlp"]}, "both": {"positions": ["after_mlp"]}}
    for label, changed in changes.items():
        data = variant("", 0, 80.0, **changed)
        write_run(tmp_path, data | {"label": f"{label}@other", "backbone": "other"})
    (found,) = compare(read_runs(tmp_path, "sweep"), Paper([]))
    assert len(sweeps_of(found.rows)) == 1
    assert {row.label for row in main_rows(found).rows} == {f"{label}@other" for label in changes}
    write_run(
        tmp_path, variant("after_attn@other", 0, 80.0, positions=["after_attn"]) | {"backbone": "other"}
    )
    (found,) = compare(read_runs(tmp_path, "sweep"), Paper([]))
    assert {row.label for row in main_rows(found).rows} == {f"{label}@other" for label in changes}


def sweep_records(seeds: int = 2) -> list[dict[str, Any]]:
    """Every variant loses one point more than the one before it; seed s gains s points."""
    out = [variant("", seed, 80.0 + seed) for seed in range(seeds)]
    for i, (name, changed) in enumerate(VARIANTS.items(), start=1):
        out += [variant(name, seed, 80.0 - i + seed, **changed) for seed in range(seeds)]
    return out


def comparison(results: Path, records: list[dict[str, Any]], suite: str = "sweep") -> Comparison:
    for data in records:
        write_run(results, data)
    (only,) = compare(read_runs(results, suite), Paper([]))
    return only


def test_sweeps_hold_what_differs_in_one_setting_alone(tmp_path: Path) -> None:
    both = variant("both", 0, 10.0, width=16, kernel=[1, 1, 1])
    found = comparison(tmp_path, [*sweep_records(), both])
    sweeps = {sweep.setting: sweep for sweep in sweeps_of(found.rows)}
    assert list(sweeps) == ["width", "kernel", "positions", "blocks"]  # as the method lists them
    names = {setting: [v.name for v in sweep.variants] for setting, sweep in sweeps.items()}
    assert names == {
        "width": ["16", str(WIDTH // 2), "128"],
        "kernel": ["1×1×1", "3×1×1", "3×3×3"],
        "positions": ["after attn", "before attn", "before attn + before mlp"],
        "blocks": ["first 1", "last 1", "last 2", f"all {DEPTH}"],
    }
    assert all(sweep.base.label == "st_adapter" for sweep in sweeps.values())
    assert sweeps["width"].numeric
    assert not sweeps["blocks"].numeric
    # variants leave the main table; a row that differs in two settings is in no sweep, and stays
    assert {row.label for row in main_rows(found).rows} == {"st_adapter", "st_adapter@both"}


def test_a_default_is_what_its_parameters_say() -> None:
    def params(**changed: Any) -> float:
        return float(adapter_params({**SETTINGS, **changed}))

    widths = [(float(w), params(width=w)) for w in (8, 16, 128)]
    assert default_amount(widths, params(width=None)) == WIDTH // 2
    counts = [(1.0, params(blocks=[2])), (2.0, params(blocks=[-1, 0]))]
    assert default_amount(counts, params()) == DEPTH
    assert default_amount(widths, params(width=None) + 1) is None  # between two widths
    assert default_amount([*widths, (32.0, 1.0)], params(width=None)) is None  # not on one line
    assert default_amount(widths[:1], params(width=None)) is None
    assert default_amount([], 5.0) is None


@pytest.mark.parametrize(
    ("setting", "value", "depth", "expected"),
    [
        ("kernel", [3, 1, 1], None, "3×1×1"),
        ("width", None, None, "default"),
        ("width", 0.5, None, "0.5"),
        ("deep", True, None, "yes"),
        ("places", ["after_attn", "after_mlp"], None, "after attn + after mlp"),
        ("blocks", None, None, "all"),
        ("blocks", None, 12, "all 12"),
        ("blocks", [0, 1], None, "first 2"),
        ("blocks", [-1], None, "last 1"),
        ("blocks", [10, 11], 12, "last 2"),
        ("blocks", [0, 1, 2, 3], 4, "all 4"),
        ("blocks", [3, 4, 5], 12, "blocks 4 to 6"),
        ("blocks", [1, 5], None, "blocks 2, 6"),
        ("blocks", [2], 4, "block 3"),
    ],
)
def test_settings_are_written_for_people(setting: str, value: Any, depth: int | None, expected: str) -> None:
    assert value_text(setting, value, depth) == expected


def test_the_base_is_the_method_itself_or_the_usual(tmp_path: Path) -> None:
    found = comparison(tmp_path, [variant(name, 0, 50.0, **changed) for name, changed in VARIANTS.items()])
    usual = base_of(found.rows, "st_adapter", "tiny_clip")
    # all variants agree with the base in three settings of four: the first by name is as good as any
    assert usual is not None
    assert usual.label == "st_adapter@blocks=first1"
    assert base_of(found.rows, "full", "tiny_clip") is None
    found = comparison(tmp_path / "named", sweep_records())
    named = base_of(found.rows, "st_adapter", "tiny_clip")
    assert named is not None
    assert named.label == "st_adapter"


def test_two_rows_of_one_method_are_no_sweep_unless_their_label_says_so(tmp_path: Path) -> None:
    other = variant("x", 0, 81.0, positions=["before_attn", "before_mlp"])
    other["label"] = "st_adapter_24x384"
    found = comparison(tmp_path, [variant("", 0, 80.0), other])
    assert sweeps_of(found.rows) == []
    assert len(main_rows(found).rows) == 2


def test_old_records_without_settings_make_no_sweep(tmp_path: Path) -> None:
    found = comparison(tmp_path, [record("a"), record("b"), record("c")], "demo")
    assert sweeps_of(found.rows) == []
    assert main_rows(found).rows == found.rows


def test_the_table_of_settings_holds_paired_differences(tmp_path: Path) -> None:
    results = tmp_path / "results"
    tops = {"": (80.0, 82.0, 81.0), "width=16": (79.0, 80.0, 80.5)}
    for name, values in tops.items():
        for seed, top1 in enumerate(values):
            changed = {"width": 16} if name else {}
            data = variant(name, seed, top1, **changed)
            data["metrics"] |= {"top1_shuffled": top1 - 20, "top1_reversed": top1 - 30 - seed}
            write_run(results, data, training_log(top1))
    report = render_report(results, tmp_path / "out", "sweep")
    text = (report.folder / "settings_st_adapter_synth_motion.csv").read_text()
    rows = {row["label"]: row for row in csv.DictReader(StringIO(text))}
    small = rows["st_adapter@width=16"]
    differences = [b - a for a, b in zip(*tops.values(), strict=True)]
    half = 4.302653 * statistics.stdev(differences) / 3**0.5
    assert float(small["against_base"]) == pytest.approx(statistics.mean(differences))
    assert float(small["low"]) == pytest.approx(statistics.mean(differences) - half, abs=1e-5)
    assert float(small["high"]) == pytest.approx(statistics.mean(differences) + half, abs=1e-5)
    assert rows["st_adapter"]["base"] == "true"
    assert rows["st_adapter"]["against_base"] == ""
    page = (report.folder / "report.md").read_text()
    assert "### Settings of st_adapter" in page
    assert "(settings_st_adapter_synth_motion.png)" in page
    assert (report.folder / "settings_st_adapter_synth_motion.svg").is_file()
    order = list(csv.DictReader(StringIO((report.folder / "order_synth_motion.csv").read_text())))
    assert [(row["label"], row["order"]) for row in order] == [
        ("st_adapter", "shuffled"),
        ("st_adapter", "reversed"),
    ]
    assert float(order[0]["lost"]) == 20
    assert float(order[1]["lost"]) == 31
    assert float(order[1]["low"]) == pytest.approx(31 - 4.302653 / 3**0.5, abs=1e-5)


def data_records(methods: tuple[str, ...] = ("st_adapter", "full")) -> list[dict[str, Any]]:
    out = []
    for method in methods:
        for share in (0.25, 0.5, 1.0):
            label = method if share == 1 else f"{method}@fraction={share:g}"
            for seed in (0, 1):
                out.append(
                    record(
                        label,
                        seed,
                        60.0 + 40 * share + seed,
                        suite="data",
                        method=method,
                        config__dataset__fraction=share,
                        config__recipe__epochs=round(4 / share),
                        provenance__data_sha256=f"{share:.2f}".ljust(64, "0"),
                        provenance__clips={"train": {"used": int(1000 * share)}},
                    )
                )
    return out


def test_shares_of_the_clips_make_lines_and_no_warning(tmp_path: Path) -> None:
    found = comparison(tmp_path, data_records(), "data")
    lines = data_lines(found.rows)
    assert [line.name for line in lines] == ["full", "st_adapter"]
    assert [row.fraction for row in lines[0].rows] == [0.25, 0.5, 1.0]
    assert [row.top1.mean for row in lines[0].rows] == [70.5, 80.5, 100.5]
    assert {row.label for row in main_rows(found).rows} == {"full", "st_adapter"}
    assert {row.label for row in whole_rows(found).rows} == {"full", "st_adapter"}
    assert cautions_of(found) == []


def test_a_difference_within_a_share_is_a_warning(tmp_path: Path) -> None:
    records = data_records()
    records[0]["config"]["recipe"]["batch_size"] = 64  # st_adapter with a quarter of the clips, seed 0
    (caution,) = cautions_of(comparison(tmp_path, records, "data"))[:1]
    assert caution.headline == "Accuracies are not comparable"
    assert caution.lines[0].startswith("recipe.batch_size: 64 in st_adapter@fraction=0.25 (seed 0)")
    assert caution.lines[0].endswith("(trained on 25 % of the clips)")


def test_rows_with_less_data_than_others_are_warned_of(tmp_path: Path) -> None:
    records = [record("a"), record("b", config__dataset__fraction=0.5)]
    lines = [line for c in cautions_of(comparison(tmp_path, records, "demo")) for line in c.lines]
    assert lines == ["share of the clips: 1 in a; 0.5 in b"]


def test_the_report_of_shares(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for data in data_records():
        write_run(results, data)
    report = render_report(results, tmp_path / "out", "data")
    rows = list(csv.DictReader(StringIO((report.folder / "fractions_synth_motion.csv").read_text())))
    assert [(row["method"], row["fraction"], row["train_clips"]) for row in rows[:3]] == [
        ("full", "0.25", "250"),
        ("full", "0.5", "500"),
        ("full", "1", "1000"),
    ]
    svg = (report.folder / "fractions_synth_motion.svg").read_text()
    assert "<svg" in svg
    console = Console(width=80, file=StringIO(), color_system=None)
    console.print(report)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "25 %" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "fraction=0.25" not in text.split("Accuracy against")[0]


def test_several_backbones_have_a_table_each(tmp_path: Path) -> None:
    records = []
    for backbone in ("clip", "in21k"):
        for method in ("full", "st_adapter"):
            label = method if backbone == "clip" else f"{method}@{backbone}"
            records.append(record(label, method=method, backbone=backbone))
    control = record("control", method="linear_probe", backbone="random")
    for data in [*records, control]:
        write_run(tmp_path, data)
    first, second = compare(read_runs(tmp_path, "demo"), Paper([]))
    assert (first.name, second.name) == ("synth_motion, clip", "synth_motion, in21k")
    assert {row.label for row in first.rows} == {"full", "st_adapter", "control"}
    assert {row.label for row in second.rows} == {"full@in21k", "st_adapter@in21k"}
    base = base_of(second.rows, "full", "in21k")
    assert base is not None
    assert base.label == "full@in21k"


def test_a_rate_that_was_chosen_elsewhere_is_warned_of(tmp_path: Path) -> None:
    selection = {
        "grid": [0.001, 0.01],
        "validation_top1": {"0.01": 90.0},
        "seed": 7,
        "source": "x.yaml",
        "train_clips": 450,
        "recipe": {"epochs": 2},
    }
    records = [record("a", selection=selection), record("b", selection={**selection, "recipe": {}})]
    found = {c.headline: c.lines for c in cautions_of(comparison(tmp_path, records, "demo"))}
    assert found == {
        "Learning rates were chosen under other conditions than the runs'": (
            "epochs: 2 in the search, 4 in a",
            "training clips: 450 in the search, 900 in all rows that were searched",
        )
    }
