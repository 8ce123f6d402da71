"""Suites as grids: sweeps of settings, shares of the training clips, several backbones, chosen rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from petl_bench.errors import UserError
from petl_bench.suite import Request, expand


def suite_file(tmp_path: Path, **fields: object) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump({"datasets": ["synth_motion"], "methods": ["st_adapter"], **fields}, sort_keys=False)
    )
    return str(file)


def test_a_sweep_varies_one_setting_at_a_time(tmp_path: Path) -> None:
    sweep = {"width": [8, 16], "kernel": {"1x1x1": [1, 1, 1]}}
    base = {"name": "st_adapter", "settings": {"blocks": [0]}}
    runs = expand(Request(suite_file(tmp_path, methods=["st_adapter", {**base, "sweep": sweep}])))
    assert [(r.method.label, r.method.settings, r.method.varied) for r in runs] == [
        ("st_adapter", {}, None),
        ("st_adapter@width=8", {"blocks": [0], "width": 8}, "width"),
        ("st_adapter@width=16", {"blocks": [0], "width": 16}, "width"),
        ("st_adapter@kernel=1x1x1", {"blocks": [0], "kernel": [1, 1, 1]}, "kernel"),
    ]
    assert {r.method.lr for r in runs} == {0.01}  # the rate of the method that they vary
    assert all(r.selection for r in runs)


def test_set_reaches_variants_but_not_what_they_vary(tmp_path: Path) -> None:
    file = suite_file(tmp_path, methods=[{"name": "st_adapter", "sweep": {"width": [8, 16]}}])
    runs = expand(Request(file, changes=["st_adapter.init=up"]))
    assert [r.method.settings for r in runs] == [{"width": 8, "init": "up"}, {"width": 16, "init": "up"}]
    with pytest.raises(UserError, match=r"--set st_adapter.width: suite 'mine' varies this setting"):
        expand(Request(file, changes=["st_adapter.width=4"]))


def test_a_bad_sweep_is_named(tmp_path: Path) -> None:
    file = suite_file(tmp_path, methods=[{"name": "st_adapter", "sweep": {"width": 8}}])
    with pytest.raises(UserError, match="sweep of st_adapter: width: expected a list of values"):
        expand(Request(file))


@pytest.mark.parametrize("budget", ["epochs", "steps"])
def test_fractions(tmp_path: Path, budget: str) -> None:
    recipe = {"epochs": 3, "warmup_epochs": 0.5}
    file = suite_file(tmp_path, fractions=[0.25, 1.0], fraction_budget=budget, recipe=recipe)
    quarter, whole = expand(Request(file))
    assert (quarter.method.label, whole.method.label) == ("st_adapter@fraction=0.25", "st_adapter")
    assert (quarter.dataset.fraction, whole.dataset.fraction) == (0.25, 1.0)
    assert (whole.recipe.epochs, whole.recipe.warmup_epochs) == (3, 0.5)
    longer = (12, 2.0) if budget == "steps" else (3, 0.5)
    assert (quarter.recipe.epochs, quarter.recipe.warmup_epochs) == longer
    assert quarter.method.lr == whole.method.lr


def test_backbones_have_their_own_folders(tmp_path: Path) -> None:
    runs = expand(Request(suite_file(tmp_path, backbones=["tiny_clip_random"])))
    assert [(r.method.label, r.backbone.name) for r in runs] == [
        ("st_adapter", "tiny_clip"),
        ("st_adapter@tiny_clip_random", "tiny_clip_random"),
    ]
    assert runs[1].method.lr is None  # its rates were chosen for the other backbone


def test_a_rate_says_under_what_it_was_chosen(tmp_path: Path) -> None:
    rates = {"synth_motion": "synth_motion_small"}
    (run,) = expand(
        Request(suite_file(tmp_path, learning_rates=rates, recipe={"epochs": 7, "batch_size": 8}))
    )
    assert run.selection is not None
    assert run.selection.recipe == {"epochs": 4}
    assert run.selection.train_clips == 864


@pytest.mark.parametrize("asked", ["clip_vit_b16", "vit_b16_in21k"])
def test_a_backbone_that_is_asked_for_is_the_only_one(asked: str) -> None:
    every = expand(Request("paper"))
    runs = expand(Request("paper", backbone=asked))
    assert runs == [run for run in every if run.backbone.name == asked]
    assert len(runs) == len(every) / 2


def test_a_share_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a fraction stands twice"):
        expand(Request(suite_file(tmp_path, fractions=[0.5, 0.5])))


def test_a_rate_of_another_backbone_is_its_own(tmp_path: Path) -> None:
    """A search over two backbones writes both; each is found again, also for a share of the clips."""
    rates = {
        "dataset": "synth_motion",
        "backbone": "tiny_clip",
        "recipe": {"epochs": 1, "batch_size": 8},
        "seed": 0,
        "grid": [0.1, 0.2, 0.3],
        "validation_top1": {"st_adapter": {"0.1": 1.0}, "st_adapter@tiny_clip_random": {"0.2": 1.0}},
        "chosen": {"st_adapter": 0.1, "st_adapter@tiny_clip_random": 0.2},
    }
    file = tmp_path / "rates.yaml"
    file.write_text(yaml.safe_dump(rates))
    suite = suite_file(
        tmp_path,
        backbones=["tiny_clip_random"],
        fractions=[0.5, 1.0],
        learning_rates={"synth_motion": str(file)},
    )
    found = {run.method.label: run.method.lr for run in expand(Request(suite))}
    assert found == {
        "st_adapter@fraction=0.5": 0.1,
        "st_adapter": 0.1,
        "st_adapter@tiny_clip_random@fraction=0.5": 0.2,
        "st_adapter@tiny_clip_random": 0.2,
    }


def test_rates_of_a_search_are_named_on_the_command_line(tmp_path: Path) -> None:
    """Over those of the suite, for its data set alone; a search of data that is not trained on is an error."""
    search = {
        "dataset": "synth_motion",
        "backbone": "tiny_clip",
        "recipe": {"epochs": 4, "batch_size": 8},
        "seed": 0,
        "grid": [0.5],
        "validation_top1": {"full": {"0.5": 1.0}},
        "chosen": {"full": 0.5},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(search))
    request = Request("demo", ["full", "prompt"], learning_rates=[str(file)])
    rates = {run.method.label: run.method.lr for run in expand(request)}
    assert rates == {"full": 0.5, "prompt": None}
    request.datasets = ["synth_appearance"]
    with pytest.raises(UserError, match=r"mine\.yaml: of data set 'synth_motion', which is not trained on"):
        expand(request)


def test_a_backbone_from_a_file_is_labelled_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "my_clip.yaml"
    file.write_text(yaml.safe_dump({"summary": "mine", "source": "embedded", "model": "tiny_clip"}))
    runs = expand(Request(suite_file(tmp_path, backbones=[str(file)])))
    assert [run.method.label for run in runs] == ["st_adapter", "st_adapter@my_clip"]


def test_fractions_are_not_overridden(tmp_path: Path) -> None:
    file = suite_file(tmp_path, fractions=[0.5, 1.0])
    with pytest.raises(
        UserError, match=r"--set dataset.fraction: suite 'mine' has the fractions \[0.5, 1.0\]"
    ):
        expand(Request(file, changes=["dataset.fraction=0.1"]))


@pytest.mark.parametrize(("field", "value"), [("recipe", "fast"), ("backbone", 5)])
def test_a_dataset_file_with_a_wrong_default(tmp_path: Path, field: str, value: object) -> None:
    source = {"kind": "synth", "task": "motion", "train_clips": 8, "test_clips": 8}
    file = tmp_path / "d.yaml"
    file.write_text(yaml.safe_dump({"summary": "", "classes": 16, "source": source, field: value}))
    with pytest.raises(UserError, match=f"Data set .*: {field}: expected"):
        expand(Request(datasets=[str(file)]))
