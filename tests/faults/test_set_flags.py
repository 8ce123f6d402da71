"""`--set`: every change takes effect or is an error that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.config import parse_set, read_yaml
from petl_bench.errors import UserError
from petl_bench.suite import Request, expand
from petl_bench.train.run import Options
from petl_bench.train.trainee import peak_rate
from petl_bench.train.tune import tune


def test_a_rate_that_is_set_comes_before_the_file_of_learning_rates() -> None:
    """synth_motion has a file with a rate for every method; without --set it decides."""
    (filed,) = expand(Request("demo", ["st_adapter"]))
    assert filed.selection is not None and filed.method.lr is not None
    (run,) = expand(Request("demo", ["st_adapter"], changes=["recipe.lr=0.0123"]))
    assert (run.method.lr, run.selection, peak_rate(run)) == (None, None, 0.0123)
    mixed = expand(Request("demo", ["st_adapter", "partial"], changes=["recipe.lr=0.0123", "partial.lr=0.5"]))
    assert [peak_rate(run) for run in mixed] == [0.0123, 0.5]


def test_a_suites_own_rate_comes_before_a_file_that_it_does_not_name(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    lines = "datasets: [synth_motion]\nmethods: [st_adapter]\nrecipe: {lr: 0.0123}\n"
    suite.write_text(lines)
    (run,) = expand(Request(str(suite)))
    assert (peak_rate(run), run.selection) == (0.0123, None)
    suite.write_text(lines + "learning_rates: {synth_motion: synth_motion}\n")
    (run,) = expand(Request(str(suite)))
    assert run.selection is not None and peak_rate(run) == run.method.lr


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["recipe.epochs=1", "recipe.epochs=2"], r"recipe.epochs: recipe.epochs is already given"),
        (["recipe.epochs=1", "recipe.epochs=1"], r"recipe.epochs is already given"),
        (["recipe.epochs=1", " recipe . epochs =2"], r"recipe.epochs is already given"),
        (
            ["dataset.views.temporal=3", "dataset.views={spatial: 3}"],
            r"dataset.views.temporal is already given",
        ),
        (["dataset.views={spatial: 3}", "dataset.views.temporal=3"], r"dataset.views is already given"),
        (
            ["recipe.betas=[0.9, 0.99]", "recipe.lr=1", "recipe.betas=[0, 0]"],
            r"recipe.betas is already given",
        ),
        (["dataset.views={spatial: 3, spatial: 1}"], r"'spatial' is given twice"),
    ],
)
def test_a_field_is_set_once(pairs: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_set(pairs)


def test_neighbours_may_be_set_side_by_side() -> None:
    pairs = ["dataset.views.temporal=3", "dataset.views.spatial=1", "dataset.viewsx=1", "full.lr=1"]
    views = {"temporal": 3, "spatial": 1}
    assert parse_set(pairs) == {"dataset": {"views": views, "viewsx": 1}, "full": {"lr": 1}}


def test_a_key_twice_in_a_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("a: 1\nrecipe:\n  epochs: 4\n  lr: 0.1\n  epochs: 5\n")
    with pytest.raises(UserError, match=r"mine.yaml, line 5: .*'epochs' is given twice"):
        read_yaml(file)
    file.write_text("base: &b {a: 1}\nother: {<<: *b, b: 2}\n")
    assert read_yaml(file)["other"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["dataset.sampling.stride=4"], r"dataset.sampling.stride: .*no effect.*dataset.sampling.mode=dense"),
        (
            ["dataset.augment.jitter=[1, 1.5]"],
            r"dataset.augment.jitter: .*no effect.*dataset.augment.crop=jitter",
        ),
        (["dataset.augment={crop: jitter, ratio: [1, 1]}"], r"dataset.augment.ratio: .*no effect"),
        (
            ["dataset.augment.crop=jitter", "dataset.augment.scale=[0.5, 1]"],
            r"dataset.augment.scale: .*no effect",
        ),
        (["recipe.validation=0", "recipe.validate_every=2"], r"recipe.validate_every: .*no effect"),
        (["backbone.activation=gelu"], r"backbone.activation: .*no effect"),
        (["dataset.name=.."], r"name: .*becomes a folder"),
        (["dataset.views.spatial=true"], r"spatial: .*whole number"),
        (["recipe.warmup_epochs=5"], r"warmup_epochs is 5, but epochs is 4"),
        (["recipe.lr=.nan"], r"lr: "),
        (["recipe.lr=nan"], r"lr: "),
    ],
)
def test_what_would_change_nothing_or_cannot_be_meant(changes: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        expand(Request("demo", ["st_adapter"], changes=changes))


def test_what_takes_effect_is_no_error() -> None:
    changes = ["dataset.sampling.mode=dense", "dataset.sampling.stride=2", "recipe.validate_every=2"]
    (run,) = expand(Request("demo", ["st_adapter"], changes=changes))
    assert (run.dataset.sampling.stride, run.recipe.validate_every) == (2, 2)
    # of two data sets, one takes it
    runs = expand(Request("paper", ["st_adapter"], seeds=[0], changes=["dataset.sampling.stride=8"]))
    assert {run.dataset.name for run in runs} == {"k400", "ssv2"}


def test_two_sources_of_the_rate_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe.lr and --learning-rates"):
        expand(Request("demo", changes=["recipe.lr=0.1"], learning_rates=["synth_motion"]))
    suite = tmp_path / "mine.yaml"
    suite.write_text("datasets: [synth_motion]\nmethods: [{name: full, lr: 0.1}]\n")
    with pytest.raises(UserError, match=r"recipe.lr: .*no effect.*METHOD.lr"):
        expand(Request(str(suite), changes=["recipe.lr=0.1"]))
    for change in ("recipe.lr=0.1", "full.lr=0.1"):
        with pytest.raises(UserError, match=r"--grid"):
            tune(Request(str(suite), changes=[change]), [0.1], Options(tmp_path))
