"""Configs: YAML files and `--set key=value`, validated. Free of torch.

A `RunConfig` holds everything that decides a run's numbers; its dump is the run's `config.yaml`, from
which the run can be rebuilt. Names of data sets, backbones and suites are the file names under `configs/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from petl_bench.dataset_config import DatasetConfig, FolderName, own_datasets
from petl_bench.errors import UserError, unknown_name
from petl_bench.records import Frozen, Selection

M = TypeVar("M", bound=BaseModel)


class BackboneConfig(Frozen):
    """A pretrained image ViT."""

    name: str
    summary: str
    source: Literal["open_clip", "timm", "embedded"]
    model: str = Field(description="model name in open_clip or timm; for embedded: the file under weights/")
    weights: str | None = Field(
        None, description="open_clip tag, path of a local file, 'timm' for timm's own, or 'random'"
    )
    activation: Literal["quick_gelu", "gelu"] | None = Field(
        None,
        description="what the weights were trained with; needed for local CLIP files that do not say it themselves",
    )
    image_size: int | None = Field(None, ge=1, description="input size, pixels; default: the model's own")
    mean: tuple[float, float, float] | None = Field(
        None, description="of red, green and blue, range 0..1; default: what the weights were trained with"
    )
    std: tuple[float, float, float] | None = Field(None, description="as mean")


class Recipe(Frozen):
    """How every method of a comparison is trained. One recipe for all, but for the learning rate."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(1e-3, gt=0, description="peak learning rate of the methods that have none of their own")
    lr_batch: int | None = Field(
        None, ge=1, description="learning rates are per this many clips of batch, if set"
    )
    warmup_epochs: float = Field(
        0.5, ge=0, description="linear; its first step has a share of the rate, not zero"
    )
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="of what the method says decays: by default matrices, not biases, norms and tokens",
    )
    betas: tuple[float, float] = (0.9, 0.999)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    grad_clip: float | None = Field(None, gt=0, description="largest L2 norm of a method's gradient")
    head_dropout: float = Field(0.5, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on GPUs, fp32 on CPUs")
    augment_on: Literal["auto", "workers", "device"] = Field(
        "auto", description="who carries out augmentation; auto: the device on GPUs, the workers on CPUs"
    )
    kernels: Literal["auto", "plain"] = Field(
        "auto", description="plain: without the operations written for speed, for comparison"
    )
    compile: bool = Field(False, description="torch.compile the blocks; takes minutes before the first step")
    checkpointing: bool | float = Field(
        False,
        description="less memory for up to half more time: blocks are computed again going backwards, "
        "all but the last, or this share",
    )
    validation: float = Field(0.1, ge=0, lt=1, description="part of the training split held out, by class")
    validate_every: int = Field(1, ge=1, description="epochs between two validations")
    test_batch_size: int | None = Field(None, ge=1, description="default: batch_size")

    @field_validator("checkpointing", mode="before")
    @classmethod
    def _share(cls, value: object) -> bool | float:
        if isinstance(value, int | float) and 0 <= value <= 1:
            return bool(value) if value in (0, 1) else float(value)
        raise ValueError("expected true, false or a share of the blocks, such as 0.5")

    def augments_on(self, device: str) -> Literal["workers", "device"]:
        """Who carries out augmentation where the training device is of a type, "cpu" or "cuda"."""
        if self.augment_on == "auto":  # on a CPU Pillow is faster than tensors are
            return "device" if device == "cuda" else "workers"
        return self.augment_on


class MethodConfig(Frozen):
    """One row of a comparison: a method, its settings, its learning rate."""

    name: str
    label: FolderName = "method"
    settings: dict[str, Any] = Field(default_factory=dict)
    lr: float | None = Field(None, gt=0)
    backbone: str | None = Field(None, description="another backbone than the suite's")
    varied: str | None = Field(None, description="the setting that a sweep gave another value")

    @model_validator(mode="before")
    @classmethod
    def _label(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"name": data}
        if isinstance(data, dict) and not data.get("label"):
            data = {**data, "label": data.get("name", "")}
        return data


class RunConfig(Frozen):
    """Everything that decides the numbers of one run."""

    suite: str
    method: MethodConfig
    dataset: DatasetConfig
    backbone: BackboneConfig
    recipe: Recipe
    seed: int
    selection: Selection | None = None


class LearningRates(Frozen):
    """Learning rates chosen by `petl-bench tune`: the whole search, for every method alike."""

    dataset: str
    backbone: str
    recipe: Recipe
    seed: int
    train_clips: int | None = Field(None, description="clips that the search trained on")
    grid: list[float]
    validation_top1: dict[str, dict[str, float]] = Field(description="label -> lr (text) -> percent")
    chosen: dict[str, float] = Field(description="label -> learning rate")


def config_names(kind: str) -> list[str]:
    """Names of the configs of a kind ("datasets", "backbones", "suites", ...), the user's own data sets included."""
    return sorted({*packaged_names(kind), *(own_datasets() if kind == "datasets" else ())})


def packaged_names(kind: str) -> list[str]:
    """Names of the configs of a kind that come with the package."""
    folder = resources.files("petl_bench").joinpath("configs", kind)
    if not folder.is_dir():
        return []
    return sorted(p.name[: -len(".yaml")] for p in folder.iterdir() if p.name.endswith(".yaml"))


def read_yaml(path: Any) -> dict[str, Any]:
    """A YAML mapping. Raises UserError that names the file and the line."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"No such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping of fields, found {type(data).__name__}.")
    return data


SINGULAR = {"datasets": "data set", "learning_rates": "file of learning rates"}


def load_named(kind: str, name: str) -> dict[str, Any]:
    """The raw mapping of `configs/<kind>/<name>.yaml`, of a user's own data set, or of a file when `name` is a
    path to one."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return {"name": path.stem, **read_yaml(path)}
    if name not in config_names(kind):
        raise unknown_name(SINGULAR.get(kind, kind.rstrip("s")), name, config_names(kind))
    if name not in packaged_names(kind):
        return {"name": name, **read_yaml(own_datasets()[name])}
    file = resources.files("petl_bench").joinpath("configs", kind, f"{name}.yaml")
    return {"name": name, **read_yaml(file)}


def validated(model: type[M], data: Mapping[str, Any], what: str) -> M:
    """`data` as a `model`, or a UserError that names each bad field, its value and what is allowed."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            field = ".".join(str(p) for p in e["loc"]) or "(top level)"
            if e["type"] == "extra_forbidden":
                lines.append(f"  {field}: no such field. Fields here: {_fields_at(model, e['loc'])}")
            else:
                value = "" if e["type"] == "missing" else f" (found {e['input']!r})"
                lines.append(f"  {field}: {e['msg']}{value}")
        raise UserError(f"{what} is not valid:\n" + "\n".join(lines)) from None


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        kind = field.annotation if field else None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
    return ", ".join(model.model_fields)


def parse_set(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """`--set a.b=value` options as nested mappings; values are YAML (`[3,1,1]`, `true`, `1e-3`).

    Returns:
        first part of the key ("recipe", "dataset", "backbone" or a method) -> nested changes.
    """
    out: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        key, eq, text = pair.partition("=")
        parts = key.strip().split(".")
        if not eq or len(parts) < 2 or not all(parts):
            raise UserError(f"--set {pair}: expected PLACE.FIELD=VALUE, such as recipe.epochs=4.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {pair}: the value {text!r} is not valid YAML.") from None
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
            with suppress(ValueError):
                value = float(value)
        node = out
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise UserError(f"--set {pair}: {part!r} was already given a value.")
        node[parts[-1]] = value
    return out


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings merged at every depth."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        out[key] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return out
