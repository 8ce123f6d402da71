"""The settings of a run as its record and its checkpoint name them, and whether two runs have the same."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from petl_bench.config import RunConfig


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What decides a run's numbers: its config as dumped, without how the rate was found and where prepared frames
    lie. Whether frames were prepared is in the record and in checkpoints."""
    return _essential(config.model_dump(mode="json"))


def differences(recorded: dict[str, Any], config: RunConfig) -> list[str]:
    """Where a run's settings, as they were written down, are others than `config`; none where they are the same."""
    return _differences(_essential(_as_now(recorded)), settings_of(config))


def _essential(config: dict[str, Any]) -> dict[str, Any]:
    dataset = config.get("dataset")
    if isinstance(dataset, dict):
        dataset = {k: v for k, v in dataset.items() if k != "prepared"}
    return {**config, "dataset": dataset, "selection": None}


def _as_now(config: dict[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of fields that they are older than."""
    try:
        return RunConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


def _differences(old: object, new: object, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in {**old, **new}
            for d in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old} there, {new} here"]
