"""Published numbers: all that are known are shipped, stand beside ours, and give way to a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_runs import record, write_run

from petl_bench.errors import UserError
from petl_bench.report import render_report
from petl_bench.report.collect import compare
from petl_bench.report.paper_numbers import Paper, PaperNumber, load_paper
from petl_bench.report.published import published_grids
from petl_bench.report.runs import read_runs

ST, FULL, CLIP = "st_adapter", "full", "clip_vit_b16"
# what is known of the paper, typed again: (method, data set, frames, field, value, source)
KNOWN: list[tuple[str, str | None, int | None, str, float, str]] = [
    (ST, "k400", None, "top1", 82.0, "paper"),
    (ST, "ssv2", None, "top1", 66.3, "paper"),
    (ST, None, None, "trainable_params", 7.2e6, "paper"),
    (FULL, None, None, "trainable_params", 121.57e6, "paper"),
    (ST, None, None, "trainable_share", 8, "paper"),
    (ST, None, None, "times_fewer", 20, "paper"),
    (ST, "k400", 8, "top1", 82.0, "later papers"),
    (ST, "k400", 8, "top5", 95.7, "later papers"),
    (ST, "k400", 8, "gflops", 455, "later papers"),
    (ST, "k400", 16, "gflops", 911, "later papers"),
    (ST, "k400", 32, "top1", 82.7, "later papers"),
    (ST, "k400", 32, "top5", 96.2, "later papers"),
    (ST, "k400", 32, "gflops", 1821, "later papers"),
    (ST, "ssv2", 8, "top1", 67.1, "later papers"),
    (ST, "ssv2", 8, "top5", 91.2, "later papers"),
    (ST, "ssv2", 32, "top1", 69.5, "later papers"),
    (ST, "ssv2", 32, "top5", 92.6, "later papers"),
    (ST, "ek100", None, "verb_top1", 67.6, "later papers"),
    (ST, "ek100", None, "noun_top1", 55.0, "later papers"),
    (ST, "k400", None, "top1", 82.2, "official code"),
    (ST, "ssv2", None, "top1", 66.9, "official code"),
]


def shipped() -> list[tuple[str, str | None, int | None, str, float, str]]:
    return [
        (n.method, n.dataset, n.frames, field, value, n.source)
        for n in load_paper().numbers
        for field, value in n.values().items()
    ]


def test_every_known_number_is_shipped_with_its_source_and_no_other() -> None:
    left = shipped()
    for *what, source in KNOWN:
        match = [entry for entry in left if [*entry[:-1]] == what and source in entry[-1]]
        assert len(match) == 1, (what, source)
        left.remove(match[0])
    assert left == []
    assert all(n.backbone == CLIP for n in load_paper().numbers)
    assert {n.views for n in load_paper().numbers if n.frames} == {3}


def ssv2(label: str = ST, top1: float = 65.0, **changes: Any) -> dict[str, Any]:
    changes = {"dataset": "ssv2", "backbone": CLIP, "cost__views": 3, "cost__gflops": 455.3, **changes}
    return record(label, 0, top1, **changes)


def beside(results: Path, records: list[dict[str, Any]], paper: Paper) -> list[dict[str, str]]:
    for data in records:
        write_run(results, data)
    (found,) = compare(read_runs(results, "demo"), paper)
    grid = published_grids(found, paper)[0]
    return [dict(zip(grid.head, row, strict=True)) for row in grid.rows]


def test_differences_stand_where_the_conditions_agree(tmp_path: Path) -> None:
    lines = beside(tmp_path, [ssv2(cost__trainable_params=7_243_962), ssv2("prompt", 50.0)], load_paper())
    found = {(x["method"], x["what"], x["published"]): (x["ours"], x["ours - published"]) for x in lines}
    assert found[ST, "top-1 %", "67.1"] == ("65.0", "-2.1")
    assert found[ST, "top-1 %", "66.3"] == ("65.0", "")  # its frames are not named
    assert found[ST, "trained parameters, with head", "7.2M"] == ("7.24M", "+0.04M")
    assert found["prompt", "top-1 %", ""] == ("50.0", "")  # not known
    assert not any(x["published"] in ("69.5", "82.0") for x in lines)  # 32 frames, another data set
    (row,) = (r for r in compare(read_runs(tmp_path, "demo"), load_paper())[0].rows if r.label == ST)
    assert row.paper_difference == pytest.approx(65.0 - 67.1)


@pytest.mark.parametrize(
    "changes",
    [{"config__dataset__sampling": {"frames": 16}}, {"cost__views": 1}, {"backbone": "vit_b16_in21k"}],
)
def test_no_difference_under_another_protocol(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_run(tmp_path, ssv2(**changes))
    (found,) = compare(read_runs(tmp_path, "demo"), load_paper())
    assert found.rows[0].paper_difference is None


def test_heads_stand_beside_theirs(tmp_path: Path) -> None:
    heads = {"verb": {"top1": 60.0, "mean_class": 1.0}, "noun": {"top1": 50.0, "mean_class": 1.0}}
    data = record(ST, dataset="ek100", backbone=CLIP, metrics__heads=heads)
    ours = {x["what"]: x["ours"] for x in beside(tmp_path, [data], load_paper())}
    assert ours["verb top-1 %"] == "60.0"
    assert ours["noun top-1 %"] == "50.0"


def test_numbers_of_protocols_that_were_not_run_are_listed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_run(results, ssv2(metrics__per_pair={}, metrics__pair_accuracy=None))
    report = render_report(results, tmp_path / "out", "demo")
    page = (report.folder / "report.md").read_text()
    table = page.split("### Published numbers on this data set")[1]
    row = next(line for line in table.splitlines() if "69.5" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == [ST, CLIP, "32", "3", "69.5", "92.6"]
    assert cells[-1] == "quoted by later papers"
    assert "82.7" not in table  # another data set
    assert "to paper points" in page
    write_run(results, record(suite="synth"))
    page = (render_report(results, tmp_path / "out", "synth").folder / "report.md").read_text()
    assert "ublished numbers" not in page


def test_a_users_file_fills_and_overrides_cells(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "numbers:\n"
        f"- {{method: prompt, backbone: {CLIP}, dataset: ssv2, frames: 8, views: 3, top1: 12.5, source: mine}}\n"
        f"- {{method: {ST}, backbone: {CLIP}, dataset: ssv2, frames: 8, views: 3, top1: 60.5, source: mine}}\n"
    )
    paper = load_paper(file)
    mine = [n for n in paper.numbers if n.source == "mine"]
    assert [n.top1 for n in mine] == [12.5, 60.5]
    rest = [
        (n.frames, n.values())
        for n in paper.numbers
        if (n.method, n.dataset) == (ST, "ssv2") and n.source != "mine" and n.label is None
    ]
    # only the cell that the file names is gone
    assert rest == [(None, {"top1": 66.3}), (8, {"top5": 91.2}), (32, {"top1": 69.5, "top5": 92.6})]
    lines = beside(tmp_path / "results", [ssv2(), ssv2("prompt", 50.0)], paper)
    found = {(x["method"], x["published"]): x["ours - published"] for x in lines}
    assert found["prompt", "12.5"] == "+37.5"
    assert found[ST, "60.5"] == "+4.5"
    assert (ST, "67.1") not in found


def test_a_bad_file_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("numbers:\n- {method: full, backbone: b, top1: high, source: s}\n")
    with pytest.raises(UserError, match=r"mine\.yaml is not valid:\n  numbers\.0\.top1"):
        load_paper(file)


def test_a_row_stands_beside_the_number_that_names_most(tmp_path: Path) -> None:
    number = PaperNumber(method=ST, backbone="tiny_clip", dataset="synth_motion", top1=66.3, source="a")
    exact = number.model_copy(update={"frames": 8, "top1": 60.0})
    write_run(tmp_path, record(top1=61.0))
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([number, exact]))
    assert found.rows[0].paper_top1 == exact
    assert found.rows[0].paper_difference == pytest.approx(1.0)
