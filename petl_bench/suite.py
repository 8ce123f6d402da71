"""From a suite, flags and `--set` to the list of runs. Free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from petl_bench.config import (
    BackboneConfig,
    LearningRates,
    MethodConfig,
    Recipe,
    RunConfig,
    config_names,
    load_named,
    merge,
    parse_set,
    read_yaml,
    validated,
)
from petl_bench.dataset_config import DatasetConfig
from petl_bench.errors import UserError, unknown_name
from petl_bench.idle import check_effect, check_rate
from petl_bench.records import Selection
from petl_bench.registry import method_names
from petl_bench.suite_config import Suite

DEFAULT_SUITE = "demo"
PAPER_METHODS = (
    "full",
    "temporal",
    "partial",
    "linear_probe",
    "attentional_pooling",
    "prompt",
    "adapter",
    "st_adapter",
)
# of a recipe: they change no weight, or how it is rounded
HARMLESS = ("test_batch_size", "validate_every", "augment_on", "kernels", "compile", "checkpointing")


@dataclass
class Request:
    """What the user asked for; None means "as the suite says"."""

    suite: str | None = None
    methods: list[str] | None = None
    datasets: list[str] | None = None
    backbone: str | None = None
    seeds: list[int] | None = None
    changes: list[str] = field(default_factory=list)  # of --set
    learning_rates: list[str] = field(
        default_factory=list
    )  # files of `petl-bench tune`, over those of the suite


def find_suite(request: Request) -> Suite:
    """The suite that a request names, or one made of its data set and methods."""
    if request.suite:
        raw = load_named("suites", request.suite)
    elif request.datasets:
        stems = [Path(d).stem if d.endswith((".yaml", ".yml")) else d for d in request.datasets]
        raw = {
            "name": "-".join(stems),
            "datasets": request.datasets,
            "methods": list(PAPER_METHODS),
        }
    else:
        raw = load_named("suites", DEFAULT_SUITE)
    if request.datasets:
        raw["datasets"] = request.datasets
    if request.seeds is not None:
        raw["seeds"] = request.seeds
    suite = validated(Suite, raw, f"Suite {request.suite or raw['name']!r}")
    if request.backbone and request.backbone not in suite.backbones:
        suite = suite.model_copy(update={"backbone": request.backbone})
    if request.methods:
        if "all" in request.methods and len(request.methods) > 1:
            raise UserError("--methods all is every method: leave out the others.")
        by_label = {m.label: m for m in suite.methods}
        names = method_names() if request.methods == ["all"] else request.methods
        chosen = [by_label.get(n) or MethodConfig(name=n, label=n) for n in names]
        suite = suite.model_copy(update={"methods": chosen})
    for method in suite.methods:
        if method.name not in method_names():
            raise unknown_name("method", method.name, method_names())
    for what, values in _axes(suite).items():
        if len(set(values)) < len(values):
            raise UserError(f"Suite {suite.name!r}: a {what} stands twice: {values}.")
    labels = [m.label for m in suite.methods]
    if twice := {n for n in labels if labels.count(n) > 1}:
        raise UserError(
            f"Suite {suite.name!r}: label {twice.pop()!r} stands twice; give each variant its own label."
        )
    return suite


def _axes(suite: Suite) -> dict[str, list[Any]]:
    """What a suite multiplies its methods by."""
    return {
        "seed": suite.seeds,
        "data set": suite.datasets,
        "backbone": suite.backbones,
        "fraction": suite.fractions,
    }


def expand(request: Request) -> list[RunConfig]:
    """Every run of a request, in the order data set, seed, method. Raises UserError for anything unknown."""
    suite = find_suite(request)
    files = {str(load_named("learning_rates", file).get("dataset")): file for file in request.learning_rates}
    suite = suite.model_copy(update={"learning_rates": {**suite.learning_rates, **files}})
    changes = parse_set(request.changes)
    _check_places(changes, suite)
    check_rate(changes, request.learning_rates)
    runs = []
    for name in suite.datasets:
        whole, defaults = load_dataset(name, merge(suite.dataset, changes.get("dataset", {})))
        recipe_raw = merge(merge(defaults.get("recipe", {}), suite.recipe), changes.get("recipe", {}))
        whole_recipe = validated(Recipe, recipe_raw, f"Recipe of suite {suite.name!r} on {name!r}")
        own = suite.backbone or defaults.get("backbone")
        if not own:
            raise UserError(f"Data set {name!r} names no backbone: choose one with --backbone.")
        # a backbone that is asked for is the only one; one that the suite adds keeps its labels
        backbones = [request.backbone] if request.backbone else list(dict.fromkeys([own, *suite.backbones]))
        grid = product(suite.seeds, backbones, suite.fractions or [whole.fraction], suite.methods)
        for seed, backbone_name, share, method in grid:
            dataset, recipe = _part(whole, whole_recipe, share, suite)
            backbone = load_backbone_config(method.backbone or backbone_name, changes.get("backbone", {}))
            method = _changed(method, changes)
            suffix = f"@{backbone.name}" if backbone_name != own else ""
            suffix += f"@fraction={share:g}" if suite.fractions and share < 1 else ""
            method = method.model_copy(update={"label": method.label + suffix})
            method, selection = _tuned(method, suite, dataset, backbone, recipe, changes)
            runs.append(
                RunConfig(
                    suite=suite.name,
                    method=method,
                    dataset=dataset,
                    backbone=backbone,
                    recipe=recipe,
                    seed=seed,
                    selection=selection,
                )
            )
    for name in files.keys() - {run.dataset.name for run in runs}:
        raise UserError(
            f"--learning-rates {files[name]}: of data set {name!r}, which is not trained on here."
        )
    check_effect(changes, runs)
    return runs


def _part(dataset: DatasetConfig, recipe: Recipe, share: float, suite: Suite) -> tuple[DatasetConfig, Recipe]:
    """A data set and a recipe at a share of the training clips."""
    if not suite.fractions:
        return dataset, recipe
    if suite.fraction_budget == "steps":
        longer = {
            "epochs": round(recipe.epochs / share),
            "warmup_epochs": recipe.warmup_epochs / share,
            "validate_every": round(recipe.validate_every / share),
        }
        recipe = validated(Recipe, {**recipe.model_dump(), **longer}, f"The recipe at fraction {share:g}")
    return dataset.model_copy(update={"fraction": share}), recipe


def load_dataset(name: str, changes: dict[str, Any] | None = None) -> tuple[DatasetConfig, dict[str, Any]]:
    """A data set's config, and the defaults in its file that are not its own: recipe and backbone."""
    raw = load_named("datasets", name)
    defaults: dict[str, Any] = {k: raw.pop(k) for k in ("recipe", "backbone") if raw.get(k)}
    for key, kind, what in (("recipe", dict, "a mapping of fields"), ("backbone", str, "a name")):
        if not isinstance(defaults.get(key, kind()), kind):
            raise UserError(f"Data set {name!r}: {key}: expected {what}, found {defaults[key]!r}.")
    raw = merge(raw, changes or {})
    if isinstance(raw.get("source"), dict) and raw["source"].get("kind") == "custom":
        from petl_bench.data.custom import completed  # imports torch

        raw, defaults["recipe"] = completed(raw, defaults.get("recipe", {}))
    return validated(DatasetConfig, raw, f"Data set {name!r}"), defaults


def load_backbone_config(name: str, changes: dict[str, Any] | None = None) -> BackboneConfig:
    """A backbone's config; any timm ViT is known by its timm name with the prefix `timm:`."""
    if name.startswith("timm:"):
        raw: dict[str, Any] = {
            "name": re.sub("[:/]", "-", name),
            "summary": name,
            "source": "timm",
            "model": name[5:],
        }
        raw["weights"] = "timm"
    else:
        raw = load_named("backbones", name)
    return validated(BackboneConfig, merge(raw, changes or {}), f"Backbone {name!r}")


def _check_places(changes: dict[str, Any], suite: Suite) -> None:
    places = (
        {"recipe", "dataset", "backbone"} | {m.name for m in suite.methods} | {m.label for m in suite.methods}
    )
    for place in changes:
        if place in set(method_names()) - places:
            raise UserError(
                f"--set {place}: not among the methods of this run. Name it in --methods, or leave it out."
            )
        if place not in places:
            raise unknown_name("place in --set", place, places)
    if suite.fractions and "fraction" in changes.get("dataset", {}):
        raise UserError(
            f"--set dataset.fraction: suite {suite.name!r} has the fractions {suite.fractions}. Write a suite of your "
            "own with those that you want: --suite FILE.yaml."
        )
    for m in suite.methods:
        if m.varied and m.varied in changes.get(m.name, {}):
            raise UserError(
                f"--set {m.name}.{m.varied}: suite {suite.name!r} varies this setting. Write a suite of your own with "
                "the values that you want: --suite FILE.yaml."
            )


def _changed(method: MethodConfig, changes: dict[str, Any]) -> MethodConfig:
    """The method with `--set` laid over its settings."""
    own = merge(
        changes.get(method.name, {}), changes.get(method.label, {}) if method.label != method.name else {}
    )
    rate = own.pop("lr", method.lr)
    return validated(
        MethodConfig,
        {**method.model_dump(), "settings": merge(method.settings, own), "lr": rate},
        f"Method {method.label!r}",
    )


def _tuned(
    method: MethodConfig,
    suite: Suite,
    dataset: DatasetConfig,
    backbone: BackboneConfig,
    recipe: Recipe,
    changes: dict[str, Any],
) -> tuple[MethodConfig, Selection | None]:
    """The method with the learning rate that a search chose for it, unless it has one, or `--set recipe.lr` gives one
    to all. A suite's own `recipe.lr` comes before a file that the suite does not name."""
    if method.lr is not None or "lr" in changes.get("recipe", {}):
        return method, None
    if "lr" in suite.recipe and dataset.name not in suite.learning_rates:
        return method, None
    known_files = config_names("learning_rates")
    name = suite.learning_rates.get(dataset.name, dataset.name if dataset.name in known_files else None)
    if name is None:
        return method, None
    raw = load_named("learning_rates", name)
    raw.pop("name", None)
    rates = validated(LearningRates, raw, f"Learning rates {name!r}")
    if rates.dataset != dataset.name:
        raise UserError(f"Learning rates {name!r} are of {rates.dataset!r}, not of {dataset.name!r}.")
    # what was not searched itself (a variant of a sweep, a share of the clips) has the rate of what it departs from
    base = method.label.partition("@")[0]
    labels = [method.label, f"{base}@{backbone.name}"]
    if rates.backbone == backbone.name or method.backbone is not None:
        labels.append(base)
    label = next((label for label in labels if label in rates.chosen), None)
    if label is None:
        return method, None
    known = rates.chosen[label]
    selection = Selection(
        grid=rates.grid,
        validation_top1=rates.validation_top1[label],
        seed=rates.seed,
        source=f"learning_rates/{Path(name).stem}.yaml",
        train_clips=rates.train_clips,
        recipe={k: v for k, v in rates.recipe if k not in ("lr", *HARMLESS) and v != getattr(recipe, k)},
    )
    return method.model_copy(update={"lr": known}), selection


def read_run_config(path: Path) -> RunConfig:
    """A run's own `config.yaml`, from which it can be rebuilt."""
    return validated(RunConfig, read_yaml(path), str(path))
