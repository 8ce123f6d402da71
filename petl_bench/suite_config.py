"""The config of a suite: a named grid of runs. Free of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from petl_bench.config import MethodConfig
from petl_bench.fields import FolderName, Number, Seed, Text
from petl_bench.records import Frozen

Fraction = Annotated[Number, Field(ge=1e-6, le=1)]


class Suite(Frozen):
    """A named grid of runs: data sets x methods x seeds under one recipe."""

    name: FolderName
    summary: str = ""
    datasets: list[Text] = Field(min_length=1)
    backbone: Text | None = Field(None, description="default: the data set's own")
    methods: list[MethodConfig] = Field(min_length=1)
    backbones: list[Text] = Field(
        default_factory=list, description="further backbones; their runs are labelled METHOD@BACKBONE"
    )
    seeds: list[Seed] = Field([0], min_length=1)
    fractions: list[Fraction] = Field(
        default_factory=list,
        description="shares of the training clips, of each class alike; labelled METHOD@fraction=SHARE",
    )
    fraction_budget: Literal["epochs", "steps"] = Field(
        "epochs", description="what a smaller share keeps: the epochs, or the steps (more epochs)"
    )
    recipe: dict[str, Any] = Field(default_factory=dict, description="changes to the data set's own recipe")
    dataset: dict[str, Any] = Field(
        default_factory=dict, description="changes to every data set of the suite"
    )
    learning_rates: dict[str, Text] = Field(
        default_factory=dict,
        description="data set -> file of `petl-bench tune`, a name under configs/learning_rates or a path; "
        "default: the file of the data set's name, if there is one",
    )

    @model_validator(mode="before")
    @classmethod
    def _sweeps(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("methods"), list):
            data = {**data, "methods": [m for entry in data["methods"] for m in _variants(entry)]}
        return data


def _variants(entry: Any) -> list[Any]:
    """A method of a suite's file; with `sweep`, one variant for each value of each setting."""
    if not isinstance(entry, dict) or "sweep" not in entry:
        return [entry]
    base = {k: v for k, v in entry.items() if k != "sweep"}
    label, settings = base.get("label") or base.get("name"), base.get("settings") or {}
    if not isinstance(entry["sweep"], dict) or not isinstance(settings, dict):
        raise ValueError(
            f"sweep of {label}: settings and sweep are mappings, of SETTING: [values] or {{name: value}}"
        )
    out = []
    for key, values in entry["sweep"].items():
        if isinstance(values, list):
            values = {str(value): value for value in values}
        if not isinstance(values, dict):
            raise ValueError(f"sweep of {label}: {key}: expected a list of values or {{name: value}}")
        out += [
            {**base, "label": f"{label}@{key}={name}", "settings": {**settings, key: value}, "varied": key}
            for name, value in values.items()
        ]
    return out
