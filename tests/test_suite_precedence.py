"""Which of several values a run gets: the nearer to the run wins, and the command line over all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from petl_bench.config import BackboneConfig, RunConfig, merge, parse_set
from petl_bench.errors import UserError
from petl_bench.suite import PAPER_METHODS, Request, expand, load_backbone_config, load_dataset

SOURCE = {"kind": "synth", "task": "motion", "train_clips": 64, "test_clips": 32, "seed": 5}


def write(file: Path, **fields: Any) -> str:
    file.write_text(yaml.safe_dump(fields, sort_keys=False))
    return str(file)


def dataset(tmp_path: Path, name: str = "d", **fields: Any) -> str:
    """A data set's file with a recipe and a backbone of its own."""
    defaults = {
        "summary": "",
        "classes": 16,
        "source": SOURCE,
        "sampling": {"frames": 4},
        "backbone": "tiny_clip_random",
        "recipe": {"epochs": 11, "batch_size": 12, "lr": 0.013, "weight_decay": 0.5},
    }
    return write(
        tmp_path / f"{name}.yaml", **{k: v for k, v in {**defaults, **fields}.items() if v is not None}
    )


def rates(tmp_path: Path, name: str, chosen: dict[str, float], **fields: Any) -> str:
    """A search's file; `chosen` has the rate of each label."""
    found: dict[str, Any] = {
        "dataset": "d",
        "backbone": "tiny_clip_random",
        "recipe": {"epochs": 11, "batch_size": 12, "weight_decay": 0.5},
        "seed": 3,
        "train_clips": 58,
        "grid": sorted({*chosen.values(), 9.0}),
        "validation_top1": {label: {f"{rate:g}": 70.0, "9": 1.0} for label, rate in chosen.items()},
        "chosen": chosen,
        **fields,
    }
    return write(tmp_path / f"{name}.yaml", **found)


def runs(request: Request) -> dict[str, RunConfig]:
    return {run.method.label: run for run in expand(request)}


def suite(tmp_path: Path, **fields: Any) -> str:
    fields = {"datasets": [str(tmp_path / "d.yaml")], "methods": ["full", "prompt"], **fields}
    return write(tmp_path / "s.yaml", **fields)


def test_recipe_data_and_backbone(tmp_path: Path) -> None:
    """The data set's file, over it the suite, over that `--set`; what nobody names keeps its default."""
    dataset(tmp_path)
    (of_data,) = expand(Request(suite(tmp_path, methods=["full"])))
    recipe = of_data.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (11, 12, 0.013, 0.5)
    assert (recipe.betas, recipe.warmup_epochs, recipe.label_smoothing) == ((0.9, 0.999), 0.5, 0.0)
    assert (of_data.dataset.sampling.frames, of_data.dataset.source.seed) == (4, 5)  # type: ignore[union-attr]
    assert of_data.backbone.name == "tiny_clip_random" and of_data.suite == "s" and of_data.seed == 0
    over = suite(
        tmp_path,
        methods=["full"],
        recipe={"epochs": 21, "batch_size": 22},
        dataset={"sampling": {"mode": "dense"}, "source": {"seed": 6, "train_clips": 48}},
        backbone="tiny_clip",
    )
    (of_suite,) = expand(Request(over))
    recipe = of_suite.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr) == (21, 22, 0.013)
    source = of_suite.dataset.source
    assert (source.seed, source.train_clips, source.test_clips) == (6, 48, 32)  # type: ignore[union-attr]
    assert (of_suite.dataset.sampling.frames, of_suite.dataset.sampling.mode) == (4, "dense")
    assert of_suite.backbone.name == "tiny_clip"
    changes = ["recipe.epochs=31", "dataset.source.seed=7", "backbone.image_size=96", "full.temporal=none"]
    (asked,) = expand(Request(over, changes=changes))
    assert (asked.recipe.epochs, asked.recipe.batch_size) == (31, 22)
    assert (asked.dataset.source.seed, asked.dataset.source.train_clips) == (7, 48)  # type: ignore[union-attr]
    assert (asked.backbone.name, asked.backbone.image_size) == ("tiny_clip", 96)
    assert asked.method.settings == {"temporal": "none"}
    (named,) = expand(Request(over, backbone="tiny_clip_random", seeds=[4]))
    assert (named.backbone.name, named.seed, named.method.label) == ("tiny_clip_random", 4, "full")


def test_settings_of_a_method_and_of_its_variant(tmp_path: Path) -> None:
    """The suite's, over them `--set METHOD.`, over these `--set LABEL.`; the other variant has its own."""
    dataset(tmp_path)
    small = {"name": "adapter", "label": "small", "settings": {"width": 3, "blocks": [0, 1]}}
    file = suite(tmp_path, methods=["adapter", small, "prompt"])
    found = runs(Request(file))
    assert (found["adapter"].method.settings, found["small"].method.settings) == ({}, small["settings"])
    changes = ["adapter.width=5", "small.width=7", "adapter.places=[beside_mlp]"]
    found = runs(Request(file, changes=changes))
    assert found["adapter"].method.settings == {"width": 5, "places": ["beside_mlp"]}
    assert found["small"].method.settings == {"width": 7, "blocks": [0, 1], "places": ["beside_mlp"]}
    assert found["prompt"].method.settings == {}
    assert {run.method.name for run in found.values()} == {"adapter", "prompt"}


def test_learning_rates(tmp_path: Path) -> None:
    """A search's, over it the variant's own in the suite, over that `--set METHOD.lr`, over that `--set LABEL.lr`."""
    dataset(tmp_path)
    own = {"name": "full", "label": "own", "lr": 0.5}
    searched = {"d": rates(tmp_path, "r", {"full": 0.1, "own": 0.2})}
    file = suite(tmp_path, methods=["full", own, "prompt"], learning_rates=searched)
    found = runs(Request(file))
    assert {label: run.method.lr for label, run in found.items()} == {"full": 0.1, "own": 0.5, "prompt": None}
    assert [label for label, run in found.items() if run.selection] == ["full"]
    found = runs(Request(file, changes=["full.lr=0.7"]))
    assert {label: run.method.lr for label, run in found.items()} == {"full": 0.7, "own": 0.7, "prompt": None}
    found = runs(Request(file, changes=["full.lr=0.7", "own.lr=0.8", "prompt.lr=0.9"]))
    assert {label: run.method.lr for label, run in found.items()} == {"full": 0.7, "own": 0.8, "prompt": 0.9}
    assert not any(run.selection for run in found.values())
    assert "lr" not in found["own"].method.settings
    # a file that is named on the command line, over the suite's
    named = rates(tmp_path, "later", {"full": 0.3, "prompt": 0.4})
    found = runs(Request(file, learning_rates=[named]))
    assert {label: run.method.lr for label, run in found.items()} == {"full": 0.3, "own": 0.5, "prompt": 0.4}


def test_what_a_run_says_of_its_search(tmp_path: Path) -> None:
    dataset(tmp_path)
    recipe = {
        "epochs": 2,
        "batch_size": 12,
        "weight_decay": 0.5,
        "lr": 0.9,
        "kernels": "plain",
        "head_dropout": 0.1,
    }
    searched = {"d": rates(tmp_path, "r", {"full": 0.1}, recipe=recipe)}
    selection = runs(Request(suite(tmp_path, learning_rates=searched)))["full"].selection
    assert selection is not None
    assert (selection.grid, selection.seed, selection.train_clips) == ([0.1, 9.0], 3, 58)
    assert selection.validation_top1 == {"0.1": 70.0, "9": 1.0}
    assert selection.source == "learning_rates/r.yaml"
    # what the search had otherwise; not the rate, and not what changes no weight
    assert selection.recipe == {"epochs": 2, "head_dropout": 0.1}


def test_a_rate_of_a_search_is_for_its_backbone(tmp_path: Path) -> None:
    """Variants have the rate of what they vary; another backbone has its own or none, but a control keeps its own."""
    dataset(tmp_path)
    variant = {"name": "prompt", "sweep": {"number": [2]}}
    chosen = {"full": 0.1, "control": 0.2, "prompt": 0.3, "prompt@tiny_clip": 0.4}
    searched = {"d": rates(tmp_path, "r", chosen)}
    methods = ["full", "prompt", variant]
    found = runs(Request(suite(tmp_path, methods=methods, backbones=["tiny_clip"], learning_rates=searched)))
    assert {label: (run.backbone.name, run.method.lr) for label, run in found.items()} == {
        "full": ("tiny_clip_random", 0.1),
        "prompt": ("tiny_clip_random", 0.3),
        "prompt@number=2": ("tiny_clip_random", 0.3),
        "full@tiny_clip": ("tiny_clip", None),
        "prompt@tiny_clip": ("tiny_clip", 0.4),
        "prompt@number=2@tiny_clip": ("tiny_clip", 0.4),
    }
    control = {"name": "full", "label": "control", "backbone": "tiny_clip"}
    found = runs(Request(suite(tmp_path, methods=["full", control], learning_rates=searched)))
    assert {label: (run.backbone.name, run.method.lr) for label, run in found.items()} == {
        "full": ("tiny_clip_random", 0.1),
        "control": ("tiny_clip", 0.2),
    }


def test_a_search_is_found_by_the_name_of_its_data_set(tmp_path: Path) -> None:
    """Without a file that is named; a data set that has none has no rates."""
    found = runs(Request("demo", ["full"], ["synth_appearance"]))
    known = yaml.safe_load(
        (Path(__file__).parents[1] / "configs/learning_rates/synth_appearance.yaml").read_text()
    )
    assert found["full"].method.lr == known["chosen"]["full"]
    dataset(tmp_path)
    assert runs(Request(suite(tmp_path)))["full"].method.lr is None


def test_the_order_of_runs(tmp_path: Path) -> None:
    """Data set, seed, backbone, share, method."""
    dataset(tmp_path)
    dataset(tmp_path, "e", backbone="tiny_clip")
    file = suite(
        tmp_path,
        datasets=[str(tmp_path / "d.yaml"), str(tmp_path / "e.yaml")],
        seeds=[1, 0],
        fractions=[0.5, 1.0],
        backbones=["tiny_clip"],
    )
    order = [
        (r.dataset.name, r.seed, r.backbone.name, r.dataset.fraction, r.method.name)
        for r in expand(Request(file))
    ]
    expected = [
        (d, seed, backbone, share, method)
        for d, backbones in (("d", ("tiny_clip_random", "tiny_clip")), ("e", ("tiny_clip",)))
        for seed in (1, 0)
        for backbone in backbones
        for share in (0.5, 1.0)
        for method in ("full", "prompt")
    ]
    assert order == expected


def test_what_is_asked_for_replaces_what_the_suite_has(tmp_path: Path) -> None:
    dataset(tmp_path)
    dataset(tmp_path, "e")
    own = {"name": "full", "label": "mine", "settings": {"temporal": "none"}}
    file = suite(tmp_path, methods=[own, "prompt"], seeds=[0, 1])
    other = str(tmp_path / "e.yaml")
    found = expand(Request(file, ["mine", "lora"], [other], seeds=[7, 8]))
    assert [(r.dataset.name, r.seed, r.method.label, r.method.settings) for r in found] == [
        ("e", 7, "mine", {"temporal": "none"}),
        ("e", 7, "lora", {}),
        ("e", 8, "mine", {"temporal": "none"}),
        ("e", 8, "lora", {}),
    ]
    every = expand(Request(file, ["all"], seeds=[0]))
    assert {r.method.name for r in every} >= set(PAPER_METHODS) | {"lora"}
    with pytest.raises(UserError, match="leave out the others"):
        expand(Request(file, ["all", "full"]))
    # data sets without a suite make one of their own
    alone = expand(Request(None, None, [other, str(tmp_path / "d.yaml")]))
    assert {r.suite for r in alone} == {"e-d"} and [r.method.name for r in alone[:8]] == list(PAPER_METHODS)
    assert {r.suite for r in expand(Request())} == {"demo"}


@pytest.mark.parametrize("budget", ["epochs", "steps"])
def test_less_data_for_as_many_epochs_or_steps(budget: str, tmp_path: Path) -> None:
    dataset(tmp_path)
    recipe = {"epochs": 5, "warmup_epochs": 0.5, "validate_every": 2}
    file = suite(tmp_path, methods=["full"], fractions=[0.3, 0.5, 1.0], fraction_budget=budget, recipe=recipe)
    found = [
        (r.recipe.epochs, r.recipe.warmup_epochs, r.recipe.validate_every) for r in expand(Request(file))
    ]
    longer = [(17, 0.5 / 0.3, 7), (10, 1.0, 4), (5, 0.5, 2)]
    assert found == (longer if budget == "steps" else [(5, 0.5, 2)] * 3)
    assert [r.dataset.fraction for r in expand(Request(file))] == [0.3, 0.5, 1.0]


def test_places_of_set_are_those_of_the_runs(tmp_path: Path) -> None:
    dataset(tmp_path)
    file = suite(tmp_path, methods=["full", {"name": "prompt", "label": "mine"}])
    for change in ("mine.number=2", "prompt.number=2", "full.temporal=none"):
        assert expand(Request(file, changes=[change]))
    with pytest.raises(UserError, match="--set lora: not among the methods of this run"):
        expand(Request(file, changes=["lora.rank=2"]))
    with pytest.raises(UserError, match="Unknown place in --set 'mine2'"):
        expand(Request(file, changes=["mine2.rank=2"]))
    dataset(tmp_path, backbone=None)
    with pytest.raises(UserError, match="names no backbone: choose one with --backbone"):
        expand(Request(file))


def test_backbones_of_timm_and_of_the_package() -> None:
    any_vit = load_backbone_config("timm:vit_tiny_patch16_224", {"image_size": 96})
    assert any_vit == BackboneConfig(
        name="timm-vit_tiny_patch16_224",
        summary="timm:vit_tiny_patch16_224",
        source="timm",
        model="vit_tiny_patch16_224",
        weights="timm",
        image_size=96,
    )
    assert load_backbone_config("tiny_clip").source == "embedded"


def test_a_data_set_and_its_defaults(tmp_path: Path) -> None:
    config, defaults = load_dataset(dataset(tmp_path), {"sampling": {"frames": 9}})
    assert (config.name, config.sampling.frames, config.classes) == ("d", 9, 16)
    assert defaults == {
        "backbone": "tiny_clip_random",
        "recipe": {"epochs": 11, "batch_size": 12, "lr": 0.013, "weight_decay": 0.5},
    }


@pytest.mark.parametrize(
    ("source", "said"), [(None, "Field required"), ("synth", "Input should be"), ({}, "tag")]
)
def test_a_data_set_without_a_source_is_named(source: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"(?s)Data set .* is not valid:.*source: .*{said}"):
        load_dataset(dataset(tmp_path, source=source))


def test_set_options_are_nested_and_merged() -> None:
    pairs = ["a.b.c=1", "a.b.d=1e-3", "a.e=[1, 2]", "b.f=x=y", "b.g= ", "b.h='1'"]
    assert parse_set(pairs) == {
        "a": {"b": {"c": 1, "d": 0.001}, "e": [1, 2]},
        "b": {"f": "x=y", "g": None, "h": 1.0},
    }
    for bad in ("a.b", ".b=1", "a.=1", "=1", "a..b=1"):
        with pytest.raises(UserError, match=r"expected PLACE\.FIELD=VALUE"):
            parse_set([bad])
    with pytest.raises(UserError, match=r"a\.b is already given"):
        parse_set(["a.b=1", "a.b.c=2"])
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert merge(base, {"a": {"c": {"f": 4}, "b": [5]}, "e": {"g": 6}}) == {
        "a": {"b": [5], "c": {"d": 2, "f": 4}},
        "e": {"g": 6},
    }
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
