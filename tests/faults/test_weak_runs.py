"""Reports warn of numbers that say little, and name no winner that chance or two clips could have made."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from report_runs import record, write_run
from rich.console import Console

from petl_bench.report import render_report
from petl_bench.report.cautions import cautions_of
from petl_bench.report.chance import above_chance, ahead, two_errors
from petl_bench.report.collect import Comparison, compare
from petl_bench.report.paper_numbers import Paper
from petl_bench.report.plot_tradeoff import PARAMETERS, headline
from petl_bench.report.runs import read_runs
from petl_bench.report.weak_runs import last_loss

NAMES_A_WINNER = (
    "highest",
    "share the",
    "best (",
    "is ahead",
    "are ahead",
    "loses most",
    "easiest",
    "moves top-1",
)


def tail(right: int, clips: int, chance: Fraction) -> Fraction:
    """Probability of `right` or more of `clips` by guessing, summed up exactly."""
    return sum(
        (math.comb(clips, k) * chance**k * (1 - chance) ** (clips - k) for k in range(right, clips + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize("clips", [18, 60, 100, 960])
@pytest.mark.parametrize("classes", [2, 3, 4, 16])
def test_two_standard_errors_of_guessing(clips: int, classes: int) -> None:
    """In whole numbers: (k / n - p)^2 > 4 p (1 - p) / n. What is beyond happens to guessing in 1 to 4 of 100 cases."""
    p = Fraction(1, classes)
    beyond = [
        k
        for k in range(clips + 1)
        if k > p * clips and (Fraction(k, clips) - p) ** 2 > 4 * p * (1 - p) / clips
    ]
    found = [k for k in range(clips + 1) if above_chance(100 * k / clips, 100 / classes, clips)]
    assert found == beyond
    assert tail(beyond[0], clips, p) < Fraction(4, 100)
    if p * clips >= 5:  # where a normal distribution is near
        assert tail(beyond[0] - 2, clips, p) > Fraction(1, 100)


def test_two_standard_errors_by_hand() -> None:
    assert two_errors(100 / 3, 18) == pytest.approx(100 * 2 / 9)  # 2 sqrt(1/3 x 2/3 / 18) = 2 / 9
    assert two_errors(50, 400) == pytest.approx(5)
    assert two_errors(25, 0) == math.inf and not above_chance(100, 25, 0)
    # 10 of 18 in three classes is the limit itself, 11 are beyond it: 3^18 = 387,420,489
    of_18 = {11: 31_824, 12: 18_564, 13: 8_568, 14: 3_060, 15: 816, 16: 153, 17: 18, 18: 1}  # 18 over k
    beyond = sum(ways * 2 ** (18 - k) for k, ways in of_18.items())
    assert tail(11, 18, Fraction(1, 3)) == Fraction(beyond, 387_420_489)
    assert beyond == 5_591_881  # 1.4 %
    assert not above_chance(100 * 10 / 18, 100 / 3, 18) and above_chance(100 * 11 / 18, 100 / 3, 18)


def test_who_is_ahead() -> None:
    tops = {"a": 100 * 17 / 18, "b": 100 * 15 / 18, "c": 100 * 14 / 18}
    assert ahead(tops, 18) == ["a", "b"]
    assert ahead(tops, 36) == ["a"]
    assert ahead(tops, 0) == ["a"]
    assert ahead({"b": 92.04, "a": 91.96}, 0) == ["b", "a"]  # printed alike


def _comparison(results: Path, records: list[dict[str, Any]], loss: float | None = None) -> Comparison:
    for data in records:
        log = [{"kind": "train", "step": s, "epoch": s, "loss": loss, "lr": 1e-3} for s in range(1, 51)]
        write_run(results, data, log if loss is not None else None)
    (only,) = compare(read_runs(results, "demo"), Paper([]))
    return only


def _row(label: str, right: int, clips: int = 18, seed: int = 0, **changes: Any) -> dict[str, Any]:
    top1 = 100 * right / clips
    more = {"metrics__mean_class": top1, "metrics__n_test": clips, **changes}
    return record(label, seed, top1, **more)


@pytest.mark.parametrize(
    ("right", "clips", "says"),
    [
        ({"a": 8, "b": 5}, 18, "no method is above chance: at most 44.4 % top-1, where guessing has 25.0 ± 20.4 %"),
        ({"a": 4}, 18, "a is not above chance: 22.2 % top-1, where guessing has 25.0 ± 20.4 %"),
        ({"a": 17, "b": 16}, 18, "no method is ahead: both are within two clips of the best (88.9 to 94.4 %)"),
        ({"a": 17, "b": 15, "c": 9}, 18, "a and b are ahead, within two clips of one another (83.3 to 94.4 %)"),
        ({"a": 17, "b": 14}, 18, "a has the highest top-1, 94.4 %, with 67.0k trained parameters"),
        ({"a": 17, "b": 17}, 18, "a and b share the highest top-1, 94.4 %"),
        ({"a": 907, "b": 904}, 960, "a has the highest top-1, 94.5 %, with 67.0k trained parameters"),
        (dict.fromkeys("abcde", 700) | {"a": 701}, 960,
         "no method is ahead: all 5 are within two clips of the best (72.9 to 73.0 %)"),
    ],
)  # fmt: skip
def test_the_headline_names_a_winner_only_where_there_is_one(
    right: dict[str, int], clips: int, says: str, tmp_path: Path
) -> None:
    found = _comparison(tmp_path, [_row(label, k, clips) for label, k in right.items()])
    assert headline(found, PARAMETERS) == f"synth_motion: {says}"


def _lines(found: Comparison) -> dict[str, tuple[str, ...]]:
    return {c.headline: c.lines for c in cautions_of(found)}


def test_each_weakness_is_warned_of_with_its_runs(tmp_path: Path) -> None:
    short = {"config__recipe": {"epochs": 50, "batch_size": 32, "lr": 1e-3}}
    clips = {"provenance__clips": {"train": {"used": 39}, "validation": {"used": 3}, "test": {"used": 18}}}
    records = [_row("a", 4, seed=seed, **short, **clips) for seed in (0, 1)]
    lines = _lines(_comparison(tmp_path, records, loss=0.95 * math.log(4)))
    assert lines == {
        "Accuracies are not above chance": (
            "top-1: within two standard errors of chance, 25.0 ± 20.4 %, or below, in all rows",
        ),
        "Training losses stayed at those of guessing": (
            "last training losses: above 90 % of ln(4) = 1.39 in all rows",
        ),
        "Trained for few steps": ("50 steps in all rows",),
        "Measured on few clips": (
            "18 test clips: one clip is 5.6 points of accuracy in all rows",
            "3 validation clips: one clip is 33.3 points of accuracy in all rows",
        ),
    }


def test_a_strong_row_is_not_warned_of(tmp_path: Path) -> None:
    records = [_row("good", 900, 960), _row("poor", 240, 960), _row("poor", 300, 960, seed=1)]
    found = _comparison(tmp_path, records, loss=0.8 * math.log(4))
    assert list(_lines(found).values()) == [
        ("top-1: within two standard errors of chance, 25.0 ± 2.8 %, or below, in poor (seed 0)",)
    ]


@pytest.mark.parametrize(
    ("used", "unreadable", "batch", "epochs", "steps"),
    [(39, 0, 32, 50, 50), (39, 0, 7, 19, 95), (3, 0, 8, 99, 99), (14, 1, 5, 33, 99)],
)
def test_steps_are_those_of_whole_batches(
    used: int, unreadable: int, batch: int, epochs: int, steps: int, tmp_path: Path
) -> None:
    changes = {
        "config__recipe": {"epochs": epochs, "batch_size": batch},
        "provenance__clips": {"train": {"used": used, "unreadable": unreadable}, "test": {"used": 960}},
    }
    lines = _lines(_comparison(tmp_path, [_row("a", 900, 960, **changes)]))
    assert lines["Trained for few steps"] == (f"{steps} steps in all rows",)
    for batches in (2, 3):  # a third more steps or so: 100 and above
        changes["config__recipe"] = {"epochs": 100, "batch_size": max(1, (used + unreadable) // batches)}
        write_run(tmp_path / str(batches), _row("a", 900, 960, **changes))
        (found,) = compare(read_runs(tmp_path / str(batches), "demo"), Paper([]))
        assert "Trained for few steps" not in _lines(found)


@pytest.mark.parametrize(("clips", "told"), [(1, "100.0"), (95, "1.1"), (96, None), (100, None)])
def test_few_is_where_a_clip_is_more_than_a_point_as_printed(
    clips: int, told: str | None, tmp_path: Path
) -> None:
    lines = _lines(_comparison(tmp_path, [_row("a", clips, clips)])).get("Measured on few clips")
    if told is None:
        assert lines is None
    else:
        noun = "clip" if clips == 1 else "clips"
        assert lines == (f"{clips} test {noun}: one clip is {told} points of accuracy in all rows",)


def test_naming_one_class_alone_is_no_accuracy(tmp_path: Path) -> None:
    """800 of 960 test clips are of one of four classes."""
    found = _comparison(tmp_path, [_row("a", 800, 960, metrics__mean_class=25.0)])
    assert _lines(found)["Accuracies are not above chance"] == (
        "mean class accuracy: within two standard errors of chance, 25.0 ± 2.8 %, or below, in all rows",
    )


def test_several_heads_guess_all_at_once(tmp_path: Path) -> None:
    """Of 3 verbs and 4 nouns: chance is 1 / 12, the loss of guessing ln 3 + ln 4."""
    dataset = {"config__dataset": {"name": "x", "classes": 12, "heads": {"verb": 3, "noun": 4}}}
    records = [_row("a", 80, 960, **dataset)]
    near = _lines(_comparison(tmp_path / "near", records, loss=0.92 * (math.log(3) + math.log(4))))
    assert near["Training losses stayed at those of guessing"] == (
        "last training losses: above 90 % of ln(12) = 2.48 in all rows",
    )
    assert "8.3 ± 1.8 %" in near["Accuracies are not above chance"][0]
    learned = _lines(_comparison(tmp_path / "learned", [_row("a", 200, 960, **dataset)], loss=math.log(4)))
    assert learned == {}


def test_the_last_loss_is_that_of_the_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    assert last_loss(file) is None
    file.write_text("")
    assert last_loss(file) is None
    lines = [f'{{"kind": "train", "step": {s}, "epoch": {s / 9}, "loss": {s / 8}}}\n' for s in range(1, 501)]
    other = '{"kind": "validation", "step": 500, "epoch": 55.6, "top1": 12.5}\n'
    file.write_text("".join(lines) + other + '{"kind": "train", "step": 501, "loss": 99')  # torn
    assert last_loss(file) == pytest.approx(sum(s / 8 for s in range(491, 501)) / 10)
    file.write_text("".join(lines[:12]) + other)  # a fifth of twelve, rounded up
    assert last_loss(file) == pytest.approx((10 + 11 + 12) / 8 / 3)
    file.write_text(lines[0])
    assert last_loss(file) == 1 / 8


def test_nothing_in_a_report_of_guesses_names_a_winner(tmp_path: Path) -> None:
    """Page, pictures, terminal: settings, shares and orders, too."""
    clips = {"provenance__clips": {"train": {"used": 39}, "validation": {"used": 12}, "test": {"used": 18}}}
    rows = {
        "linear_probe": 4,
        "st_adapter": 5,
        "full": 6,
        "st_adapter@fraction=0.5": 3,
        "st_adapter@width=8": 5,
    }
    for label, right in rows.items():
        name = label.split("@")[0]
        top1 = 100 * right / 18
        orders = {"metrics__top1_shuffled": top1 - 15, "metrics__top1_reversed": top1 - 15}
        data = _row(label, right, method=name, **orders, **clips)
        data["metrics"]["per_class"] = dict(
            zip(("left", "right", "up", "down"), (0.0, top1, top1, 100.0), strict=True)
        )
        data["config"]["method"]["name"] = name
        data["settings"] = {"width": 8 if "width" in label else 64}
        if "fraction" in label:
            data["config"]["dataset"]["fraction"] = 0.5
        log = [{"kind": "train", "step": s, "epoch": s / 5, "loss": 1.38} for s in range(1, 21)]
        log += [{"kind": "validation", "step": 20, "epoch": 4.0, "top1": 8.0 * right}]
        write_run(tmp_path / "results", data, log)
    report = render_report(tmp_path / "results", tmp_path / "out", "demo")
    page = report.files[0].read_text()
    titles = [line for line in page.splitlines() if line.startswith(("![", "- [synth_motion]"))]
    assert len(titles) >= 7
    for title in titles:
        assert not any(words in title for words in NAMES_A_WINNER), title
    assert "(read the warnings)" in page.split("## synth_motion")[0]
    assert "**22.2**" not in page and "**33.3**" not in page
    console = Console(record=True, width=200, color_system="truecolor")
    console.print(report)
    shown = console.export_text(styles=True)
    assert "! Accuracies are not above chance" in shown and "! Measured on few clips" in shown
    assert "\x1b[1m33.3" not in shown
    assert any(w.startswith("synth_motion: Accuracies are not above chance: top-1") for w in report.warnings)
