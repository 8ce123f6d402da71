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
ONE, TWO, BEFORE_MLP = ["before_attn"], ["before_attn", "before_mlp"], ["before_mlp"]
# what is known of the paper, typed again: (method, places in a block, data set, frames, field, value, source)
KNOWN: list[tuple[str, list[str] | None, str | None, int | None, str, float, str]] = [
    (ST, ONE, "k400", None, "top1", 82.0, "paper"),
    (ST, ONE, "ssv2", None, "top1", 66.3, "paper"),
    (ST, ONE, None, None, "trainable_params", 7.2e6, "paper"),
    (FULL, None, None, None, "trainable_params", 121.57e6, "paper"),
    (ST, ONE, None, None, "trainable_share", 8, "paper"),
    (ST, ONE, None, None, "times_fewer", 20, "paper"),
    (ST, ONE, "k400", None, "trainable_params", 7.42e6, "Co-Settle"),
    (ST, BEFORE_MLP, "k400", None, "trainable_params", 7.42e6, "Co-Settle"),
    (ST, ONE, "k400", 8, "top1", 82.0, "later papers"),
    (ST, ONE, "k400", 8, "top5", 95.7, "later papers"),
    (ST, ONE, "k400", 8, "gflops", 455, "later papers"),
    (ST, ONE, "k400", 16, "gflops", 911, "later papers"),
    (ST, ONE, "k400", 32, "top1", 82.7, "later papers"),
    (ST, ONE, "k400", 32, "top5", 96.2, "later papers"),
    (ST, ONE, "k400", 32, "gflops", 1821, "later papers"),
    (ST, TWO, "ssv2", 8, "top1", 67.1, "later papers"),
    (ST, TWO, "ssv2", 8, "top5", 91.2, "later papers"),
    (ST, TWO, "ssv2", 32, "top1", 69.5, "later papers"),
    (ST, TWO, "ssv2", 32, "top5", 92.6, "later papers"),
    (ST, None, "ek100", 32, "verb_top1", 67.6, "CAST"),
    (ST, None, "ek100", 32, "noun_top1", 55.0, "CAST"),
    (ST, BEFORE_MLP, "k400", 8, "top1", 82.2, "official code"),
    (ST, TWO, "ssv2", 8, "top1", 66.9, "official code"),
    (ST, ONE, "ssv2", 8, "top1", 62.8, "ZeroI2V"),
]


def shipped() -> list[tuple[str, list[str] | None, str | None, int | None, str, float, str]]:
    return [
        (n.method, places(n), n.dataset, n.frames, field, value, n.source)
        for n in load_paper().numbers
        for field, value in n.values().items()
    ]


def places(number: PaperNumber) -> list[str] | None:
    return number.settings.get("positions") if isinstance(number.settings, dict) else None


def test_every_known_number_is_shipped_with_its_source_and_no_other() -> None:
    left = shipped()
    for *what, source in KNOWN:
        match = [entry for entry in left if [*entry[:-1]] == what and source in entry[-1]]
        assert len(match) == 1, (what, source)
        left.remove(match[0])
    assert left == []
    in21k = {n.top1 for n in load_paper().numbers if n.backbone != CLIP}
    assert in21k == {62.8}
    assert {n.views for n in load_paper().numbers if n.frames} == {3}


# the settings of a run of ST-Adapter as a record has them, typed here and not taken from the method
DEFAULTS: dict[str, Any] = {
    "width": None,
    "kernel": [3, 1, 1],
    "positions": ONE,
    "blocks": None,
    "init": "conv",
}


def ssv2(
    label: str = ST, top1: float = 65.0, given: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """A run on SSv2. `given`: the settings that its config names; those of a record are filled in."""
    changes = {
        "dataset": "ssv2",
        "backbone": CLIP,
        "cost__views": 3,
        "cost__gflops": 455.3,
        "config__method__settings": given or {},
        **changes,
    }
    if changes.get("method", label) == ST:
        changes.setdefault("settings", {**DEFAULTS, **(given or {})})
    return record(label, 0, top1, **changes)


def beside(results: Path, records: list[dict[str, Any]], paper: Paper) -> list[dict[str, str]]:
    for data in records:
        write_run(results, data)
    (found,) = compare(read_runs(results, "demo"), paper)
    grid = published_grids(found, paper)[0]
    return [dict(zip(grid.head, row, strict=True)) for row in grid.rows]


def test_differences_stand_where_the_conditions_agree(tmp_path: Path) -> None:
    both = {"positions": TWO, "width": 384}
    records = [
        ssv2(cost__trainable_params=7_243_950),
        ssv2("two", 66.0, both, method=ST),
        ssv2("prompt", 50.0),
    ]
    lines = beside(tmp_path, records, load_paper())
    found = {(x["method"], x["what"], x["published"]): (x["ours"], x["ours - published"]) for x in lines}
    assert found["two", "top-1 %", "67.1"] == ("66.0", "-1.1")
    assert found["two", "top-1 %", "66.9"] == ("66.0", "-0.9")
    assert found[ST, "top-1 %", "66.3"] == ("65.0", "")  # its frames are not named
    assert found[ST, "trained parameters, with head", "7.2M"] == ("7.24M", "+0.04M")
    assert found["prompt", "top-1 %", ""] == ("50.0", "")  # not known
    assert not any(x["published"] in ("69.5", "82.0") for x in lines)  # 32 frames, another data set
    rows = {r.label: r for r in compare(read_runs(tmp_path, "demo"), load_paper())[0].rows}
    assert rows["two"].paper_difference == pytest.approx(66.0 - 67.1)
    assert rows[ST].paper_difference is None


K400 = {"dataset": "k400"}
FRAMES_32 = {"config__dataset__sampling": {"frames": 32}}
# settings that a run was given, its other conditions, and every top-1 that may stand beside it
STRUCTURES: list[tuple[dict[str, Any], dict[str, Any], set[float]]] = [
    ({}, {}, {66.3}),
    ({"width": 384}, {}, {66.3}),
    ({"positions": TWO}, {}, {67.1, 66.9}),
    ({"positions": TWO[::-1], "width": 384}, {}, {67.1, 66.9}),
    ({"positions": TWO}, FRAMES_32, {69.5}),
    ({"positions": BEFORE_MLP}, {}, set()),  # no such model was published on SSv2
    ({"positions": ["after_attn"]}, {}, set()),
    ({}, {"backbone": "vit_b16_in21k"}, {62.8}),
    ({"positions": TWO}, {"backbone": "vit_b16_in21k"}, set()),
    ({}, K400, {82.0}),
    ({}, K400 | FRAMES_32, {82.0, 82.7}),
    ({"positions": BEFORE_MLP}, K400, {82.2}),
    ({"positions": BEFORE_MLP}, K400 | FRAMES_32, set()),
    ({"positions": TWO}, K400, set()),
    # departures in anything else
    ({"width": 192}, {}, set()),
    ({"positions": TWO, "width": 192}, {}, set()),
    ({"kernel": [1, 1, 1]}, {}, set()),
    ({"blocks": [-1, -2, -3]}, {}, set()),
    ({"init": "up"}, {}, set()),
    ({"to_come": 1}, {}, set()),  # a setting that these numbers do not know
    # the network of another name, or not as released
    ({}, {"backbone": "clip_vit_l14"}, set()),
    ({"width": 384}, {"backbone": "clip_vit_l14"}, set()),
    ({}, {"config__backbone": {"weights": "random"}}, set()),
    ({}, {"config__backbone": {"model": "ViT-L-14"}}, set()),
    ({}, {"config__backbone": {"weights": "/weights/ViT-B-16.pt", "image_size": 336}}, set()),
    ({}, {"config__backbone": {"weights": "ViT-B-16.pt", "model": "ViT-B-16-quickgelu"}}, {66.3}),
    # a share of the clips
    ({}, {"config__dataset__fraction": 0.05}, set()),
    # a record from before settings were recorded: what is not known is not compared
    ({}, {"settings": {}}, set()),
    ({}, {"settings": {"positions": ONE}}, set()),
    ({}, {"config": {"dataset": {"sampling": {"frames": 8}}}}, {66.3}),  # its settings tell enough
]


@pytest.mark.parametrize(("given", "conditions", "expected"), STRUCTURES)
@pytest.mark.parametrize("label", [ST, "st_adapter_official_ssv2", "st_adapter@positions=before_mlp"])
def test_a_number_stands_beside_its_own_structure_alone(
    tmp_path: Path, label: str, given: dict[str, Any], conditions: dict[str, Any], expected: set[float]
) -> None:
    """Whatever the row is called."""
    write_run(tmp_path, ssv2(label, given=given, method=ST, **conditions))
    ((row,),) = (found.rows for found in compare(read_runs(tmp_path, "demo"), load_paper()))
    assert {n.top1 for n in row.paper if n.top1} == expected
    assert all(n.verb_top1 is None for n in row.paper)


def test_a_row_whose_seeds_differ_has_the_numbers_of_all(tmp_path: Path) -> None:
    write_run(tmp_path, ssv2())
    write_run(tmp_path, ssv2(given={"kernel": [1, 1, 1]}) | {"seed": 1})
    ((row,),) = (found.rows for found in compare(read_runs(tmp_path, "demo"), load_paper()))
    assert row.n == 2
    assert row.paper == ()


def test_parameters_stand_beside_every_structure_that_has_them(tmp_path: Path) -> None:
    for label, given in ((ST, {}), ("official", {"positions": BEFORE_MLP}), ("two", {"positions": TWO})):
        write_run(tmp_path, ssv2(label, given=given, method=ST, **K400))
    rows = {r.label: r for r in compare(read_runs(tmp_path, "demo"), load_paper())[0].rows}
    found = {
        label: [n.trainable_params for n in row.paper if n.trainable_params] for label, row in rows.items()
    }
    assert found == {ST: [7.42e6, 7.2e6], "official": [7.42e6], "two": []}


@pytest.mark.parametrize(
    "changes",
    [{"config__dataset__sampling": {"frames": 16}}, {"cost__views": 1}, {"backbone": "vit_b16_in21k"}],
)
def test_no_difference_under_another_protocol(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_run(tmp_path, ssv2(given={"positions": TWO}, **changes))
    (found,) = compare(read_runs(tmp_path, "demo"), load_paper())
    assert found.rows[0].paper_difference is None


def test_heads_stand_beside_theirs_where_the_structure_is_known(tmp_path: Path) -> None:
    heads = {"verb": {"top1": 60.0, "mean_class": 1.0}, "noun": {"top1": 50.0, "mean_class": 1.0}}
    data = ssv2(dataset="ek100", metrics__heads=heads, **FRAMES_32)
    write_run(tmp_path / "shipped", data)
    ((row,),) = (found.rows for found in compare(read_runs(tmp_path / "shipped", "demo"), load_paper()))
    assert not [n for n in row.paper if n.verb_top1]  # one adapter a block or two: nobody says
    number = PaperNumber(
        method=ST, backbone=CLIP, dataset="ek100", verb_top1=67.6, noun_top1=55.0, source="mine"
    )
    ours = {x["what"]: x["ours"] for x in beside(tmp_path / "own", [data], Paper([number]))}
    assert ours["verb top-1 %"] == "60.0"
    assert ours["noun top-1 %"] == "50.0"


def test_numbers_of_protocols_that_were_not_run_are_listed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_run(results, ssv2(given={"positions": TWO}, metrics__per_pair={}, metrics__pair_accuracy=None))
    report = render_report(results, tmp_path / "out", "demo")
    page = (report.folder / "report.md").read_text()
    table = page.split("### Published numbers on this data set")[1]
    row = next(line for line in table.splitlines() if "69.5" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == ["st_adapter_official_ssv2", CLIP, "32", "3", "69.5", "92.6"]
    assert cells[-1] == "quoted by later papers"
    assert "two adapters a block" in cells[-2]
    assert "82.7" not in table  # another data set
    assert "to paper points" in page
    write_run(results, record(suite="synth"))
    page = (render_report(results, tmp_path / "out", "synth").folder / "report.md").read_text()
    assert "ublished numbers" not in page


def test_a_users_file_fills_and_overrides_cells(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "structures: {narrow: {width: 96}}\n"
        "numbers:\n"
        f"- {{method: prompt, backbone: {CLIP}, dataset: ssv2, frames: 8, views: 3, top1: 12.5, source: mine}}\n"
        f"- {{method: {ST}, settings: st_adapter_official_ssv2, backbone: {CLIP}, dataset: ssv2, frames: 8, views: 3, "
        "top1: 60.5, source: mine}\n"
        f"- {{method: {ST}, settings: narrow, backbone: {CLIP}, dataset: ssv2, top1: 61.5, source: mine}}\n"
        f"- {{method: {ST}, label: wide, backbone: {CLIP}, dataset: ssv2, top1: 62.5, source: mine}}\n"
    )
    paper = load_paper(file)
    mine = [n for n in paper.numbers if n.source == "mine"]
    assert [n.top1 for n in mine] == [12.5, 60.5, 61.5, 62.5]
    rest = [
        (n.frames, n.values())
        for n in paper.numbers
        if (n.method, n.dataset, n.backbone) == (ST, "ssv2", CLIP) and n.source != "mine"
    ]
    # only the cell that the file names is gone, of all numbers of that structure and protocol
    assert rest == [(None, {"top1": 66.3}), (8, {"top5": 91.2}), (32, {"top1": 69.5, "top5": 92.6})]
    rows = [
        ssv2(),
        ssv2("two", given={"positions": TWO}, method=ST),
        ssv2("thin", given={"width": 96}, method=ST),
        ssv2("wide", given={"width": 768}, method=ST),
        ssv2("prompt", 50.0),
    ]
    lines = beside(tmp_path / "results", rows, paper)
    found = {(x["method"], x["published"]): x["ours - published"] for x in lines}
    assert found["prompt", "12.5"] == "+37.5"
    assert found["two", "60.5"] == "+4.5"
    assert ("two", "67.1") not in found and ("two", "66.9") not in found
    assert found["thin", "61.5"] == ""
    # a name is not enough: the row has a width that the number does not name
    assert ("wide", "62.5") not in found
    assert found[ST, "66.3"] == ""


def test_a_users_number_comes_before_a_shipped_one_that_names_as_much(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"numbers:\n- {{method: {ST}, backbone: {CLIP}, dataset: ssv2, top1: 60.5, source: mine}}\n"
    )
    write_run(tmp_path / "results", ssv2())
    (found,) = compare(read_runs(tmp_path / "results", "demo"), load_paper(file))
    assert found.rows[0].paper_top1 is not None and found.rows[0].paper_top1.source == "mine"


def test_an_unknown_structure_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"numbers:\n- {{method: {ST}, settings: st_adapter_oficial_ssv2, backbone: b, source: s}}\n"
    )
    with pytest.raises(UserError, match="Did you mean 'st_adapter_official_ssv2'"):
        load_paper(file)


def test_a_bad_file_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("numbers:\n- {method: full, backbone: b, top1: high, source: s}\n")
    with pytest.raises(UserError, match=r"mine\.yaml is not valid:\n  numbers\.0\.top1"):
        load_paper(file)


def test_a_row_stands_beside_the_number_that_names_most(tmp_path: Path) -> None:
    number = PaperNumber(method=ST, backbone="tiny_clip", dataset="synth_motion", top1=66.3, source="a")
    exact = number.model_copy(update={"frames": 8, "top1": 60.0})
    write_run(tmp_path, record(top1=61.0, config__method__settings={}))
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([number, exact]))
    assert found.rows[0].paper_top1 == exact
    assert found.rows[0].paper_difference == pytest.approx(1.0)
