"""The report's numbers: means, spreads, shares, fronts, places of labels, published values, differences."""

from __future__ import annotations

import itertools
import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from report_runs import BACKBONE_PARAMS, HEAD, record, training_log, write_run

from petl_bench.errors import UserError
from petl_bench.report.cautions import cautions_of
from petl_bench.report.collect import Comparison, compare, twins
from petl_bench.report.curves import LOSS_POINTS, curves_of
from petl_bench.report.labels import Box, place_if_free, place_labels, spread
from petl_bench.report.measure import count, digits, measure, percent, size
from petl_bench.report.notes import findings, not_counted
from petl_bench.report.paper_numbers import Measured, Paper, PaperNumber, load_paper
from petl_bench.report.pareto import pareto_front
from petl_bench.report.runs import find_suites, read_runs


def comparison(results: Path, records: list[dict[str, Any]], paper: Paper | None = None) -> Comparison:
    for data in records:
        write_run(results, data)
    (only,) = compare(read_runs(results, "demo"), paper or Paper([]))
    return only


def lines_of(found: Comparison) -> dict[str, list[str]]:
    return {c.headline: list(c.lines) for c in cautions_of(found)}


def test_measure_is_the_sample_standard_deviation() -> None:
    values = [90.0, 91.5, 95.0]
    m = measure([*values, None])
    assert m is not None
    assert m.mean == pytest.approx(statistics.mean(values))
    assert m.std == pytest.approx(statistics.stdev(values))
    assert m.n == 3
    one = measure([4.0])
    assert one is not None
    assert one.std is None
    assert measure([None]) is None


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(0), "0"),
        (count(640), "640"),
        (count(2048), "2.05k"),
        (count(67_000), "67.0k"),
        (count(999_900), "1.00M"),
        (count(7_243_962), "7.24M"),
        (count(121_567_120), "121.57M"),
        (size(267_000), "267 kB"),
        (digits(0.01234), "0.0123"),
        (digits(9.996), "10.0"),
        (digits(455.34), "455"),
        (digits(1821.3), "1821"),
        (digits(0), "0"),
        (digits(None), ""),
        (percent(measure([92.26])), "92.3"),
        (percent(measure([92.0, 93.0])), "92.5 ± 0.7"),
        (percent(None), ""),
    ],
)
def test_numbers_are_written_with_sensible_digits(shown: str, expected: str) -> None:
    assert shown == expected


def test_rows_average_the_seeds_and_are_sorted_by_top1(tmp_path: Path) -> None:
    tops = {"low": [33.0, 34.0], "high": [90.0, 93.0, 96.0], "middle": [50.0]}
    records = [record(label, seed, top1) for label, seeds in tops.items() for seed, top1 in enumerate(seeds)]
    found = comparison(tmp_path, records)
    assert [row.label for row in found.rows] == ["high", "middle", "low"]
    for row in found.rows:
        assert row.top1.mean == pytest.approx(statistics.mean(tops[row.label]))
        expected = statistics.stdev(tops[row.label]) if len(tops[row.label]) > 1 else None
        assert row.top1.std == (pytest.approx(expected) if expected is not None else None)
        assert row.n == len(tops[row.label])
    assert found.missing == (("low", 2), ("middle", 1), ("middle", 2))
    assert found.chance == 25.0
    assert found.blind_ceiling == 50.0
    assert found.rows[1].top5 is None


def test_seed_10_comes_after_seed_2(tmp_path: Path) -> None:
    found = comparison(tmp_path, [record(seed=seed) for seed in (10, 2, 1)])
    assert [run.record.seed for run in found.rows[0].runs] == [1, 2, 10]


def test_share_is_of_the_backbone_whatever_the_rows_train(tmp_path: Path) -> None:
    everything = {"params": 1_300_000, "cost__total_params": 1_300_000 + HEAD}
    rows = comparison(tmp_path, [record("full", **everything), record("st_adapter", params=67_000)]).rows
    shares = {row.label: row.share for row in rows}
    assert shares["st_adapter"] == pytest.approx(100 * 67_000 / BACKBONE_PARAMS)
    assert shares["full"] == pytest.approx(130)


def test_running_and_failed_runs_are_listed_and_not_averaged(tmp_path: Path) -> None:
    records = [
        record(seed=0, top1=90.0),
        record(seed=1, top1=10.0, status="running"),
        record(
            "full", 0, status="failed", error="Traceback:\n  x\nOutOfMemory: 3 GB", metrics=None, cost=None
        ),
    ]
    found = comparison(tmp_path, records)
    assert [(row.label, row.n, row.top1.mean) for row in found.rows] == [("st_adapter", 1, 90.0)]
    assert not_counted(found) == [
        "full, seed 0: failed (OutOfMemory: 3 GB)",
        "st_adapter, seed 1: running",
        "full, seed 1: missing, though other rows have it",
    ]


def test_ceiling_of_classes_of_which_half_have_a_twin(tmp_path: Path) -> None:
    found = comparison(tmp_path, [record(metrics__per_pair={"left/right": 50.0})])
    assert found.blind_ceiling == 75.0
    assert twins("put a/b down/lift a/b", ["put a/b down", "lift a/b"]) == ("put a/b down", "lift a/b")
    assert twins("a/b", ["a"]) is None


@pytest.mark.parametrize(("pair", "holds"), [(49.0, True), (51.0, True), (56.0, False)])
def test_the_order_blind_ceiling_is_checked(tmp_path: Path, pair: float, holds: bool) -> None:
    found = comparison(tmp_path, [record(order_blind=True, metrics__pair_accuracy=pair)])
    text = " ".join(findings(found))
    assert ("50 % holds" in text) is holds
    assert ("Look for a leak" in text) is not holds


def test_pareto_front_against_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(200):
        points = [(rng.randrange(6), rng.randrange(6)) for _ in range(rng.randrange(1, 12))]
        expected = {
            i
            for i, (x, y) in enumerate(points)
            if not any(u <= x and v >= y and (u, v) != (x, y) for u, v in points)
        }
        front = pareto_front(points)
        assert set(front) == expected
        assert len(front) == len(expected)
        assert front == sorted(front, key=lambda i: (points[i], i))


def test_labels_do_not_cover_each_other_or_the_points() -> None:
    rng = random.Random(1)
    anchors = [(rng.uniform(60, 500), rng.uniform(40, 300)) for _ in range(16)]
    sizes = [(rng.uniform(30, 90), 12.0)] * 16
    marks = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in anchors]
    bounds = Box(0, 0, 600, 340)
    boxes = [b for b in place_labels(anchors, sizes, marks, bounds) if b]
    assert len(boxes) == 16
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(boxes, 2))
    assert all(box.overlap(mark) == 0 for box in boxes for mark in marks)
    assert all(box.outside(bounds) == pytest.approx(0) for box in boxes)
    assert boxes == place_labels(anchors, sizes, marks, bounds)


def test_labels_of_coinciding_points_keep_their_order() -> None:
    low, high = place_labels([(100, 100), (101, 104)], [(60, 12)] * 2, [], Box(0, 0, 300, 300))
    assert low is not None
    assert high is not None
    assert low.y0 < high.y0


def test_crowded_labels_give_way() -> None:
    anchors = [(50.0, 50.0 + i) for i in range(30)]
    boxes = place_if_free(anchors, [(40, 12)] * 30, [], Box(0, 0, 110, 110))
    kept = [b for b in boxes if b]
    assert None in boxes
    assert kept
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(kept, 2))


def test_spread_keeps_the_gap_and_moves_little() -> None:
    rng = random.Random(2)
    for _ in range(50):
        wanted = [rng.uniform(0, 200) for _ in range(8)]
        got = spread(wanted, 12.0, 0.0, 200.0)
        order = sorted(range(8), key=lambda i: wanted[i])
        gaps = [got[b] - got[a] for a, b in itertools.pairwise(order)]
        assert min(gaps) >= 12.0 - 1e-9
        assert min(got) >= -1e-9
        assert max(got) <= 200 + 1e-9
    assert spread([10.0, 50.0], 12.0, 0.0, 100.0) == [10.0, 50.0]  # nothing to mend
    # two at 50 part evenly: least squares
    assert spread([50.0, 50.0], 12.0, 0.0, 100.0) == [44.0, 56.0]
    # five do not fit with this gap
    assert spread([5.0] * 5, 50.0, 0.0, 100.0) == [0.0, 25.0, 50.0, 75.0, 100.0]


def test_curves_average_the_seeds_and_survive_a_torn_or_repeated_line(tmp_path: Path) -> None:
    for seed, top1 in enumerate((80.0, 90.0)):
        folder = write_run(tmp_path, record(seed=seed), training_log(top1))
    with (folder / "log.jsonl").open("a") as log:
        # a resumed run logs its last steps again
        again = {"kind": "validation", "step": 120, "epoch": 4.0, "top1": 100.0}
        log.write(json.dumps(again) + '\n{"kind": "validation", "st')
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([]))
    curves = curves_of(found.rows[0])
    assert curves.top1 is not None
    assert curves.top1.epochs == (1.0, 2.0, 3.0, 4.0)
    assert [v.mean for v in curves.top1.values] == pytest.approx([21.25, 42.5, 63.75, 90.0])
    assert curves.top1.values[-1].std == pytest.approx(statistics.stdev([80.0, 100.0]))
    assert curves.loss is not None
    assert len(curves.loss.values) == LOSS_POINTS
    # 120 steps in 40 bins: the first holds steps 1, 2 and 3
    assert curves.loss.values[0].mean == pytest.approx(statistics.mean([30 / 1, 30 / 2, 30 / 3]))
    assert curves.loss.values[-1].mean < curves.loss.values[0].mean


def test_no_curve_of_runs_without_a_log(tmp_path: Path) -> None:
    (row,) = comparison(tmp_path, [record()]).rows
    curves = curves_of(row)
    assert curves.top1 is None
    assert curves.loss is None


def test_like_runs_need_no_warning(tmp_path: Path) -> None:
    assert cautions_of(comparison(tmp_path, [record(seed=0), record(seed=1), record("full")])) == []


@pytest.mark.parametrize(
    ("changes", "headline", "line"),
    [
        (
            {"config__recipe__epochs": 30},
            "Accuracies are not comparable",
            "recipe.epochs: 30 in odd; 4 in all others",
        ),
        (
            {"config__dataset__sampling": {"frames": 16}},
            "Accuracies are not comparable",
            "dataset.sampling.frames: 16 in odd; 8 in all others",
        ),
        (
            {"provenance__data_sha256": "ee" * 32},
            "Accuracies are not comparable",
            "hash of the data: eeeeeeeeeeee in odd; cdcdcdcdcdcd in all others",
        ),
        (
            {"backbone": "clip_vit_b16"},
            "Accuracies are not comparable",
            "backbone: clip_vit_b16 in odd; tiny_clip in all others",
        ),
        (
            {"provenance__precision": "bf16"},
            "Accuracies are not comparable",
            "precision: bf16 in odd; fp32 in all others",
        ),
        (
            {"provenance__device": "NVIDIA H100"},
            "Times and memory are not comparable",
            "device: NVIDIA H100 in odd; cpu in all others",
        ),
        (
            {"config__recipe__checkpointing": 0.5},
            "Times and memory are not comparable",
            "computed with: checkpointing of 0.5 of the blocks in odd; nothing special in all others",
        ),
        (
            {"config__recipe__checkpointing": True},
            "Times and memory are not comparable",
            "computed with: checkpointing in odd; nothing special in all others",
        ),
        (
            {"provenance__git_dirty": True},
            "Not made by one version of the code",
            "commit: 0123456789ab with uncommitted changes in odd; 0123456789ab in all others",
        ),
        (
            {"provenance": None},
            "Times and memory are not comparable",
            "threads: not recorded in odd; 2 in all others",
        ),
        (
            {"provenance__clips": {"train": {"used": 890, "unreadable": 10}}},
            "Clips were left out",
            "train 890 (10 unreadable) in odd",
        ),
        (
            {
                "selection": {
                    "grid": [0.01, 0.001],
                    "validation_top1": {"0.01": 90.0},
                    "seed": 7,
                    "source": "x.yaml",
                }
            },
            "Learning rates were not chosen alike",
            "grid: [0.001, 0.01] in odd; none in all others",
        ),
    ],
)
def test_a_difference_between_rows_is_a_warning_that_names_it(
    tmp_path: Path, changes: dict[str, Any], headline: str, line: str
) -> None:
    alike = [record(label, seed) for label in ("a", "b", "c") for seed in (0, 1)]
    found = lines_of(comparison(tmp_path, [*alike, record("odd", **changes)]))
    assert line in found[headline]


def test_a_difference_within_a_row_names_the_seed(tmp_path: Path) -> None:
    records = [record(seed=0), record(seed=1), record(seed=2, config__method__lr=0.1)]
    found = lines_of(comparison(tmp_path, records))
    assert found == {
        "Seeds of one row were not run alike": [
            "st_adapter: learning rate: 0.1 in st_adapter (seed 2); 0.01 in st_adapter (seed 0, 1)"
        ]
    }


def test_the_shipped_paper_numbers() -> None:
    paper = load_paper()

    def measured(method: str, dataset: str, frames: int, backbone: str, settings: dict[str, Any]) -> Measured:
        given = frozenset(settings)
        filled = (
            {"temporal": "divided"}
            if method == "full"
            else {"width": None, "kernel": [3, 1, 1], "blocks": None}
        )
        filled |= {"positions": ["before_attn"], "init": "conv"} if method == "st_adapter" else {}
        return Measured(method, "any", backbone, dataset, frames, 3, filled | settings, given)

    def top1(dataset: str, frames: int, *positions: str, **settings: Any) -> list[float]:
        settings |= {"positions": list(positions)} if positions else {}
        found = paper.of(measured("st_adapter", dataset, frames, "clip_vit_b16", settings))
        return [number.top1 for number in found if number.top1 is not None]

    assert top1("k400", 8) == [82.0, 82.0]
    assert top1("k400", 8, "before_mlp") == [82.2]
    assert top1("k400", 32) == [82.7, 82.0]
    assert top1("ssv2", 8) == [66.3]
    assert top1("ssv2", 8, "before_attn", "before_mlp") == [67.1, 66.9]
    assert top1("ssv2", 32, "before_attn", "before_mlp") == [69.5]
    assert top1("ssv2", 8, width=64) == []
    assert top1("synth_motion", 8) == []
    (full,) = paper.of(measured("full", "ssv2", 8, "clip_vit_b16", {}))
    assert full.values() == {"trainable_params": 121.57e6}
    assert paper.of(measured("full", "ssv2", 8, "clip_vit_b16", {"temporal": "none"})) == []
    assert paper.of(measured("full", "ssv2", 8, "tiny_clip", {})) == []


def test_a_row_stands_beside_the_papers_number(tmp_path: Path) -> None:
    number = PaperNumber(
        method="st_adapter",
        backbone="tiny_clip",
        dataset="synth_motion",
        frames=8,
        top1=66.3,
        source="a test",
    )
    other = number.model_copy(update={"frames": 32, "top1": 1.0})
    records = [record(label, config__method__settings={}) for label in ("st_adapter", "full")]
    found = comparison(tmp_path, records, Paper([other, number]))
    numbers = {row.label: row.paper_top1 for row in found.rows}
    assert numbers == {"st_adapter": number, "full": None}


def test_a_bad_paper_file_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("numbers:\n- {method: full, backbone: b, top_1: 3, source: s}\n")
    with pytest.raises(UserError, match="top_1"):
        load_paper(file)


def test_errors_name_what_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No runs found under .*petl-bench run"):
        find_suites(tmp_path)
    with pytest.raises(UserError, match="No runs found"):
        read_runs(tmp_path, "demo")
    folder = write_run(tmp_path, record())
    assert find_suites(tmp_path) == ["demo"]
    with pytest.raises(UserError, match="Did you mean 'demo'"):
        read_runs(tmp_path, "dem")
    for path in (str(tmp_path / "demo"), "demo/", "./demo", "..", ""):
        with pytest.raises(UserError, match=r"name of a folder in .*, not a path"):
            read_runs(tmp_path, path)
    with pytest.raises(UserError, match="Unknown suite"):
        read_runs(tmp_path, "*")  # a name, not a pattern
    file = folder / "record.json"
    good = file.read_text()
    for broken, message in (
        (good[:100], "cannot be read"),
        (good.replace('"status": "done"', '"status": "fine"'), "status"),
        (good.replace('"schema_version": 1', '"schema_version": 2'), "upgrade"),
        (json.dumps({**json.loads(good), "metrics": None}), "metrics or cost"),
        (good.replace('"top1": 90.0', '"top1": NaN', 1), r"metrics\.top1"),
    ):
        file.write_text(broken)
        with pytest.raises(UserError, match=message) as caught:
            read_runs(tmp_path, "demo")
        assert str(file) in str(caught.value)


def test_the_same_run_in_two_folders_is_not_counted_twice(tmp_path: Path) -> None:
    folder = write_run(tmp_path, record())
    copy = folder.with_name("seed-0-again")
    copy.mkdir()
    (copy / "record.json").write_text((folder / "record.json").read_text())
    with pytest.raises(UserError, match="Two folders hold the same run"):
        read_runs(tmp_path, "demo")
