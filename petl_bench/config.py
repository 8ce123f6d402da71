"""Configs: YAML files and `--set key=value`, validated. Free of torch.

A `RunConfig` holds everything that decides a run's numbers; its dump is the run's `config.yaml`, from
which the run can be rebuilt. Names of data sets, backbones and suites are the file names under `configs/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from petl_bench.dataset_config import DatasetConfig, own_datasets
from petl_bench.errors import UserError, unknown_name
from petl_bench.fields import Below1, FolderName, LearningRate, Number, Seed, Switch, Text, Whole
from petl_bench.records import Frozen, Selection

M = TypeVar("M", bound=BaseModel)

Level = Annotated[Number, Field(ge=0, le=1)]  # of a colour
Spread = Annotated[Number, Field(ge=1e-3, le=10)]
Percent = Annotated[Number, Field(ge=0, le=100)]
MOST_EPOCHS, MOST_CLIPS = 100_000, 65_536


class BackboneConfig(Frozen):
    """A pretrained image ViT."""

    name: FolderName
    summary: str
    source: Literal["open_clip", "timm", "embedded"]
    model: Text = Field(description="model name in open_clip or timm; for embedded: the file under weights/")
    weights: Text | None = Field(
        None, description="open_clip tag, path of a local file, 'timm' for timm's own, or 'random'"
    )
    activation: Literal["quick_gelu", "gelu"] | None = Field(
        None,
        description="what the weights were trained with; needed for local CLIP files that do not say it themselves",
    )
    image_size: Whole | None = Field(
        None, ge=8, le=4096, description="input size, pixels; default: the model's own"
    )
    mean: tuple[Level, Level, Level] | None = Field(
        None, description="of red, green and blue, range 0..1; default: what the weights were trained with"
    )
    std: tuple[Spread, Spread, Spread] | None = Field(None, description="as mean")


class Recipe(Frozen):
    """How every method of a comparison is trained. One recipe for all, but for the learning rate."""

    epochs: Whole = Field(ge=1, le=MOST_EPOCHS)
    batch_size: Whole = Field(ge=1, le=MOST_CLIPS)
    lr: LearningRate = Field(
        1e-3, description="peak learning rate of the methods that have none of their own"
    )
    lr_batch: Whole | None = Field(
        None, ge=1, le=MOST_CLIPS, description="learning rates are per this many clips of batch, if set"
    )
    warmup_epochs: Number = Field(
        0.5, ge=0, description="at most `epochs`; linear; its first step has a share of the rate, not zero"
    )
    weight_decay: Number = Field(
        0.01,
        ge=0,
        le=10,
        description="of what the method says decays: by default matrices, not biases, norms and tokens",
    )
    betas: tuple[Below1, Below1] = (0.9, 0.999)
    label_smoothing: Below1 = 0.0
    grad_clip: Number | None = Field(
        None, ge=1e-6, le=1e6, description="largest L2 norm of a method's gradient"
    )
    head_dropout: Below1 = 0.5
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on GPUs, fp32 on CPUs")
    augment_on: Literal["auto", "workers", "device"] = Field(
        "auto", description="who carries out augmentation; auto: the device on GPUs, the workers on CPUs"
    )
    kernels: Literal["auto", "plain"] = Field(
        "auto", description="plain: without the operations written for speed, for comparison"
    )
    compile: Switch = Field(
        False, description="torch.compile the blocks; takes minutes before the first step"
    )
    checkpointing: bool | float = Field(
        False,
        description="less memory for up to half more time: blocks are computed again going backwards, "
        "all but the last, or this share",
    )
    validation: Below1 = Field(0.1, description="part of the training split held out, by class")
    validate_every: Whole = Field(1, ge=1, le=MOST_EPOCHS, description="epochs between two validations")
    test_batch_size: Whole | None = Field(None, ge=1, le=MOST_CLIPS, description="default: batch_size")

    @field_validator("checkpointing", mode="before")
    @classmethod
    def _share(cls, value: object) -> bool | float:
        if isinstance(value, int | float) and 0 <= value <= 1:
            return bool(value) if value in (0, 1) else float(value)
        raise ValueError("expected true, false or a share of the blocks, such as 0.5")

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}, but epochs is {self.epochs}: the learning rate would never "
                "reach its peak. Lower the one or raise the other"
            )
        return self

    def augments_on(self, device: str) -> Literal["workers", "device"]:
        """Who carries out augmentation where the training device is of a type, "cpu" or "cuda"."""
        if self.augment_on == "auto":  # on a CPU Pillow is faster than tensors are
            return "device" if device == "cuda" else "workers"
        return self.augment_on


class MethodConfig(Frozen):
    """One row of a comparison: a method, its settings, its learning rate."""

    name: Text
    label: FolderName = "method"
    settings: dict[str, Any] = Field(default_factory=dict)
    lr: LearningRate | None = None
    backbone: Text | None = Field(None, description="another backbone than the suite's")
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

    suite: FolderName
    method: MethodConfig
    dataset: DatasetConfig
    backbone: BackboneConfig
    recipe: Recipe
    seed: Seed
    selection: Selection | None = None


class LearningRates(Frozen):
    """Learning rates chosen by `petl-bench tune`: the whole search, for every method alike."""

    dataset: Text
    backbone: Text
    recipe: Recipe
    seed: Seed
    train_clips: Whole | None = Field(
        None, ge=1, le=10_000_000, description="clips that the search trained on"
    )
    grid: list[LearningRate] = Field(min_length=1)
    validation_top1: dict[str, dict[str, Percent]] = Field(description="label -> lr (text) -> percent")
    chosen: dict[str, LearningRate] = Field(description="label -> learning rate")


def config_names(kind: str) -> list[str]:
    """Names of the configs of a kind ("datasets", "backbones", "suites", ...), the user's own data sets included."""
    return sorted({*packaged_names(kind), *(own_datasets() if kind == "datasets" else ())})


def packaged_names(kind: str) -> list[str]:
    """Names of the configs of a kind that come with the package."""
    folder = resources.files("petl_bench").joinpath("configs", kind)
    if not folder.is_dir():
        return []
    return sorted(p.name[: -len(".yaml")] for p in folder.iterdir() if p.name.endswith(".yaml"))


class _Loader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win, without a word. Here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag != "tag:yaml.org,2002:merge" and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """What a YAML text says. Raises yaml.YAMLError, also for a key that is given twice."""
    return yaml.load(text, _Loader)


def read_yaml(path: Any) -> dict[str, Any]:
    """A YAML mapping. Raises UserError that names the file and the line."""
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
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

    Raises UserError for what is no `PLACE.FIELD=VALUE`, and for a field that is given twice, also as a part of another.

    Returns:
        first part of the key ("recipe", "dataset", "backbone" or a method) -> nested changes.
    """
    out: dict[str, dict[str, Any]] = {}
    given: list[tuple[str, ...]] = []
    for pair in pairs:
        key, eq, text = pair.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not eq or len(parts) < 2 or not all(parts):
            raise UserError(f"--set {pair}: expected PLACE.FIELD=VALUE, such as recipe.epochs=4.")
        for other in given:
            shared = min(len(other), len(parts))
            if list(other[:shared]) == parts[:shared]:
                raise UserError(f"--set {'.'.join(parts)}: {'.'.join(other)} is already given. Set it once.")
        given.append(tuple(parts))
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            why = getattr(error, "problem", None) or error
            raise UserError(f"--set {pair}: the value {text!r} is not valid YAML: {why}.") from None
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
            with suppress(ValueError):
                value = float(value)
        node = out
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
    return out


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings merged at every depth."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        out[key] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return out
