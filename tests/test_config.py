"""Configs: what is shipped is valid, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.config import (
    BackboneConfig,
    LearningRates,
    MethodConfig,
    Recipe,
    config_names,
    load_named,
    merge,
    parse_set,
    validated,
)
from petl_bench.errors import UserError
from petl_bench.suite import PAPER_METHODS, Request, expand, find_suite, load_dataset, read_run_config
from petl_bench.suite_config import Suite
from petl_bench.train.tune import choose


@pytest.mark.parametrize("name", config_names("suites"))
def test_shipped_suites_expand(name: str) -> None:
    runs = expand(Request(name))
    suite = find_suite(Request(name))
    copies = len(suite.seeds) * (1 + len(suite.backbones)) * max(1, len(suite.fractions))
    assert len(runs) == len(suite.datasets) * len(suite.methods) * copies
    folders = {(run.dataset.name, run.method.label, run.seed) for run in runs}
    assert len(folders) == len(runs)  # no run overwrites another
    for run in runs:
        if run.dataset.source.kind != "synth" or run.method.backbone is not None:
            continue  # data that are not ours to search on, and a control, which needs no search of its own
        assert run.selection is not None, f"{run.method.label}: its learning rate was not chosen by a search"
        assert run.method.lr in run.selection.grid
        best = max(run.selection.validation_top1.values())
        assert run.selection.validation_top1[f"{run.method.lr:g}"] == best


# the classes of `custom` are counted in the user's folder: tests/test_data_add.py
@pytest.mark.parametrize("name", [n for n in config_names("datasets") if n != "custom"])
def test_shipped_datasets(name: str) -> None:
    config, defaults = load_dataset(name)
    assert config.name == name
    validated(Recipe, defaults["recipe"], name)
    assert defaults["backbone"] in config_names("backbones")


@pytest.mark.parametrize("name", config_names("backbones"))
def test_shipped_backbones(name: str) -> None:
    validated(BackboneConfig, load_named("backbones", name), name)


@pytest.mark.parametrize("name", config_names("learning_rates"))
def test_shipped_learning_rates_follow_from_their_search(name: str) -> None:
    raw = load_named("learning_rates", name)
    raw.pop("name")
    rates = validated(LearningRates, raw, name)
    assert set(PAPER_METHODS) <= set(rates.chosen)
    for label, chosen in rates.chosen.items():
        scores = rates.validation_top1[label]
        assert {float(r) for r in scores} == set(rates.grid), "every method gets the same grid"
        assert scores[f"{chosen:g}"] == max(scores.values())


def test_choice_of_a_rate() -> None:
    assert choose({1e-3: [10, 40], 1e-2: [30, 50], 1e-1: [0]}) == 1e-2
    assert choose({1e-3: [10, 50], 1e-2: [30, 50]}) == 1e-2  # of equals, the one better on the way
    assert choose({1e-3: [30, 50], 1e-2: [30, 50]}) == 1e-3


def test_set_reaches_every_place() -> None:
    changes = [
        "recipe.lr=1e-3",
        "dataset.source.train_clips=32",
        "backbone.image_size=96",
        "st_adapter.kernel=[5,1,1]",
        "st_adapter.lr=0.5",
    ]
    (run,) = expand(Request("demo", ["st_adapter"], changes=changes))
    assert run.recipe.lr == 1e-3
    assert run.dataset.source.train_clips == 32  # type: ignore[union-attr]
    assert run.backbone.image_size == 96
    assert run.method.settings == {"kernel": [5, 1, 1]}
    assert run.method.lr == 0.5
    assert run.selection is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("dmo"), r"Unknown suite 'dmo'. Did you mean 'demo'"),
        (Request(None, ["st_adaptor"]), r"Unknown method 'st_adaptor'. Did you mean 'st_adapter'"),
        (Request(None, None, ["sv2"]), r"Unknown data set 'sv2'. Did you mean 'ssv2'"),
        (Request(backbone="clip_b16"), r"Unknown backbone 'clip_b16'.*clip_vit_b16"),
        (Request(changes=["recipe.epoch=3"]), r"epoch: no such field. Fields here: epochs"),
        (
            Request(changes=["recipe.epochs=no"]),
            r"epochs: Input should be a valid integer.*found 'no'|found False",
        ),
        (
            Request(changes=["recipe.checkpointing=1.5"]),
            r"checkpointing: .*a share of the blocks, such as 0.5",
        ),
        (Request(changes=["recipe.checkpointing=half"]), r"checkpointing: .*true, false or .*found 'half'"),
        (Request(changes=["recip.epochs=3"]), r"Did you mean 'recipe'"),
        (Request(changes=["epochs=3"]), r"--set epochs=3: expected PLACE.FIELD=VALUE"),
        (Request(changes=["recipe.lr=[1"]), r"not valid YAML"),
        (Request(changes=["dataset.source.train_clip=3"]), r"train_clip: no such field"),
        (Request(seeds=[0, 0]), r"a seed stands twice"),
        (Request(seeds=[-1]), r"seeds.0: Input should be greater than or equal to 0"),
        (Request("missing.yaml"), r"No such file: missing.yaml"),
    ],
)
def test_errors(request_: Request, message: str) -> None:
    with pytest.raises(UserError, match=message):
        expand(request_)


def test_bad_yaml_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("datasets: [synth_motion]\nmethods: [\n")
    with pytest.raises(UserError, match=r"s\.yaml, line 3"):
        expand(Request(str(file)))
    file.write_text("- a\n")
    with pytest.raises(UserError, match=r"expected a mapping"):
        expand(Request(str(file)))
    file.write_text("datasets: [synth_motion]\nmethods: [full, full]\n")
    with pytest.raises(UserError, match="'full' stands twice"):
        expand(Request(str(file)))


def test_learning_rates_of_another_dataset(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "datasets: [synth_motion]\nmethods: [full]\nlearning_rates: {synth_motion: synth_appearance}\n"
    )
    with pytest.raises(UserError, match="are of 'synth_appearance', not of 'synth_motion'"):
        expand(Request(str(file)))


def test_a_run_is_rebuilt_from_its_own_config(tmp_path: Path) -> None:
    from petl_bench.results import RunFolder

    (run,) = expand(Request("demo", ["st_adapter"], changes=["st_adapter.width=8"]))
    folder = RunFolder.of(tmp_path, run)
    folder.write_config(run)
    assert folder.path == tmp_path / "demo" / "synth_motion" / "st_adapter" / "seed-0"
    assert read_run_config(folder.config_file) == run


def test_small_things() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    assert parse_set(["a.b=x y", "a.c=true"]) == {"a": {"b": "x y", "c": True}}
    assert MethodConfig.model_validate("full").label == "full"
    with pytest.raises(UserError, match="methods: Field required"):
        validated(Suite, {"name": "s", "datasets": ["x"]}, "Suite 's'")


@pytest.mark.parametrize(("given", "read"), [("1", True), ("0", False), ("true", True), ("0.5", 0.5)])
def test_checkpointing_is_a_switch_or_a_share(given: str, read: bool | float) -> None:
    (run, *_) = expand(Request("demo", ["full"], changes=[f"recipe.checkpointing={given}"]))
    assert run.recipe.checkpointing is read or run.recipe.checkpointing == read == 0.5


def test_who_augments() -> None:
    recipe = Recipe(epochs=1, batch_size=1)
    assert (recipe.augments_on("cpu"), recipe.augments_on("cuda")) == ("workers", "device")
    for choice in ("workers", "device"):
        fixed = recipe.model_copy(update={"augment_on": choice})
        assert fixed.augments_on("cpu") == fixed.augments_on("cuda") == choice
