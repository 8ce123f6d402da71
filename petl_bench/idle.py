"""Settings of `--set` that would change nothing: an error that says what to do, rather than a run like the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from petl_bench.config import RunConfig
from petl_bench.errors import UserError

# field -> the runs in which it takes effect, and what would make it do so
CONDITIONS: Mapping[str, tuple[Callable[[RunConfig], bool], str]] = {
    "dataset.sampling.stride": (
        lambda run: run.dataset.sampling.mode == "dense",
        "dataset.sampling.mode=dense",
    ),
    "dataset.augment.jitter": (
        lambda run: run.dataset.augment.crop == "jitter",
        "dataset.augment.crop=jitter",
    ),
    "dataset.augment.scale": (
        lambda run: run.dataset.augment.crop == "resized",
        "dataset.augment.crop=resized",
    ),
    "dataset.augment.ratio": (
        lambda run: run.dataset.augment.crop == "resized",
        "dataset.augment.crop=resized",
    ),
    "recipe.validate_every": (lambda run: run.recipe.validation > 0, "recipe.validation=0.1"),
    "backbone.activation": (
        lambda run: run.backbone.source != "embedded" and run.backbone.weights not in ("random", "timm"),
        "backbone.weights=FILE",
    ),
}


def check_rate(changes: Mapping[str, Any], files: Sequence[str]) -> None:
    """UserError where `--set recipe.lr` and `--learning-rates` both say which rate to use."""
    if files and "lr" in changes.get("recipe", {}):
        raise UserError(
            "--set recipe.lr and --learning-rates both give learning rates. Leave one of them out; --set METHOD.lr "
            "gives a single method another rate than the file."
        )


def check_effect(changes: Mapping[str, Any], runs: Sequence[RunConfig]) -> None:
    """UserError for a change that takes effect in none of the runs."""
    for field, (takes, remedy) in CONDITIONS.items():
        if _is_set(changes, field.split(".")) and not any(map(takes, runs)):
            raise UserError(f"--set {field}: it has no effect without --set {remedy}.")
    own = [place for place, change in changes.items() if place != "recipe" and "lr" in change]
    if _is_set(changes, ["recipe", "lr"]) and not own and all(r.method.lr is not None for r in runs):
        raise UserError(
            "--set recipe.lr: it has no effect where every method has a learning rate of its own. Change that with "
            "--set METHOD.lr."
        )


def _is_set(changes: Mapping[str, Any], parts: Sequence[str]) -> bool:
    node: Any = changes
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def check_tunable(changes: Mapping[str, Any]) -> None:
    """UserError where `--set` gives a learning rate to a search that tries those of a grid."""
    for place, change in changes.items():
        if "lr" in change and place not in ("dataset", "backbone"):
            raise UserError(f"--set {place}.lr: a search tries the rates of --grid. Leave it out.")
