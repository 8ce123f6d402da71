"""Every field of every config refuses what it cannot mean. The ranges below are kept by hand: a field without one, or
with another one in the code, fails here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from petl_bench.config import BackboneConfig, LearningRates, MethodConfig, Recipe, RunConfig, config_names
from petl_bench.pretrain.config import PretrainConfig
from petl_bench.registry import builtin_names, find_method
from petl_bench.suite import Request, expand
from petl_bench.suite_config import Suite

RECIPE = {"epochs": 100_000, "batch_size": 8}
DATASET = {"name": "d", "summary": "", "classes": 2, "source": {"kind": "folders"}}
BACKBONE = {"name": "b", "summary": "", "source": "timm", "model": "m"}
SYNTH = {"kind": "synth", "task": "motion", "train_clips": 8, "test_clips": 8}
# what else a model needs to be valid
BASES: dict[str, dict[str, Any]] = {
    "Recipe": RECIPE,
    "DatasetConfig": DATASET,
    "BackboneConfig": BACKBONE,
    "MethodConfig": {"name": "full"},
    "SynthSource": SYNTH,
    "RunConfig": {
        "suite": "s", "method": "full", "dataset": DATASET, "backbone": BACKBONE, "recipe": RECIPE, "seed": 0
    },
    "Suite": {"name": "s", "datasets": ["d"], "methods": ["full"]},
    "LearningRates": {
        "dataset": "d", "backbone": "b", "recipe": RECIPE, "seed": 0, "grid": [0.1], "validation_top1": {},
        "chosen": {},
    },
    "PretrainConfig": {"name": "p", "steps": 10_000_000, "batch_size": 2, "warmup_steps": 0},
    "ImageTower": {"image_size": 5040, "patch_size": 8, "width": 65_536},
    "TextTower": {"width": 65_536},
}  # fmt: skip
MANY, RATE, CLIPS, EPOCHS = (1, 65_536), (1e-12, 1e30), (1, 10_000_000), (1, 100_000)
BELOW_1 = (0.0, 1.0, "below")
SEED = (0, 2**63 - 1)
# model.field -> smallest and largest value that is allowed; "below": the largest is not
RANGES: dict[str, tuple[Any, ...]] = {
    "Recipe.epochs": EPOCHS, "Recipe.batch_size": MANY, "Recipe.lr": RATE, "Recipe.lr_batch": MANY,
    "Recipe.warmup_epochs": (0.0, 100_000.0), "Recipe.weight_decay": (0.0, 10.0), "Recipe.betas": BELOW_1,
    "Recipe.label_smoothing": BELOW_1, "Recipe.grad_clip": (1e-6, 1e6), "Recipe.head_dropout": BELOW_1,
    "Recipe.checkpointing": (0.0, 1.0), "Recipe.validation": BELOW_1, "Recipe.validate_every": EPOCHS,
    "Recipe.test_batch_size": MANY,
    "MethodConfig.lr": RATE, "RunConfig.seed": SEED, "Suite.seeds": SEED, "Suite.fractions": (1e-6, 1.0),
    "BackboneConfig.image_size": (8, 4096), "BackboneConfig.mean": (0.0, 1.0), "BackboneConfig.std": (1e-3, 10.0),
    "Sampling.frames": (1, 1024), "Sampling.stride": (1, 10_000), "Views.temporal": (1, 100),
    "SynthSource.train_clips": CLIPS, "SynthSource.test_clips": CLIPS, "SynthSource.size": (16, 4096),
    "SynthSource.length": (2, 10_000), "SynthSource.seed": SEED,
    "DatasetConfig.classes": (2, 1_000_000), "DatasetConfig.fraction": (1e-6, 1.0),
    "LearningRates.seed": SEED, "LearningRates.train_clips": CLIPS, "LearningRates.grid": RATE,
    "LearningRates.validation_top1": (0.0, 100.0), "LearningRates.chosen": RATE,
    "AdapterSettings.width": MANY, "AttentionalPoolingSettings.heads": MANY, "LoRASettings.rank": MANY,
    "AdapterSettings.init_std": (1e-6, 1.0), "FullSettings.fresh_lr": (1e-3, 1000.0),
    "TemporalSettings.fresh_lr": (1e-3, 1000.0), "PartialSettings.fresh_lr": (1e-3, 1000.0),
    "FullSettings.drop_path": BELOW_1, "TemporalSettings.drop_path": BELOW_1,
    "LoRASettings.alpha": (1e-6, 1e6), "PartialSettings.last": (1, 1024), "PromptSettings.number": MANY,
    "PromptSettings.dropout": BELOW_1, "STAdapterSettings.width": MANY, "STAdapterSettings.kernel": (1, 99),
    "PretrainConfig.embed_dim": (8, 65_536), "PretrainConfig.position_scale": (0.0, 1000.0),
    "PretrainConfig.position_temperature": (math.nextafter(1, 2), 1e9), "PretrainConfig.seed": SEED,
    "PretrainConfig.steps": CLIPS, "PretrainConfig.batch_size": (2, 65_536), "PretrainConfig.lr": RATE,
    "PretrainConfig.warmup_steps": (0, 10_000_000), "PretrainConfig.weight_decay": (0.0, 10.0),
    "PretrainConfig.betas": BELOW_1, "PretrainConfig.group": MANY, "PretrainConfig.keep": (1e-6, 1.0),
    "PretrainConfig.single": (0.0, 1.0), "PretrainConfig.log_every": CLIPS,
    "PretrainConfig.checkpoint_seconds": (1e-3, 1e6), "PretrainConfig.held_out": (2, 10_000_000),
    "PretrainConfig.retrieval": (2, 65_536), "PretrainConfig.mean": (0.0, 1.0), "PretrainConfig.std": (1e-3, 10.0),
    "TextTower.layers": MANY, "ImageTower.layers": MANY,
}  # fmt: skip
# whose allowed values hang on another field, or are any number: refused by kind here, by value further below
RELATED = {
    "Augment.jitter", "Augment.scale", "Augment.ratio", "DatasetConfig.heads", "Views.spatial",
    "UCF101Source.split", "HMDB51Source.split", "AdapterSettings.blocks", "STAdapterSettings.blocks",
    "PretrainConfig.shared", "ImageTower.image_size", "ImageTower.patch_size", "ImageTower.width",
    "ImageTower.head_width", "TextTower.width", "TextTower.heads",
}  # fmt: skip
FOLDERS = {
    "RunConfig.suite", "MethodConfig.label", "DatasetConfig.name", "BackboneConfig.name", "Suite.name",
    "PretrainConfig.name",
}  # fmt: skip
NO_NUMBERS = [True, False, "3", "x", [], {}, math.nan, math.inf, -math.inf, -1e300, 1e300]
NO_WHOLE_NUMBERS = [2.5, 1e-320]
NO_NAMES = ["", ".", "..", "../x", "a/b", "a\\b", "a\n", "x" * 201, 3, True, None, ["a"]]


def parts(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    if get_origin(annotation) is Annotated:
        yield from parts(get_args(annotation)[0])
    elif get_origin(annotation) is Literal:
        yield from {type(value) for value in get_args(annotation)}
    elif get_origin(annotation) in (Union, UnionType, tuple, list, dict):
        for inner in get_args(annotation):
            yield from parts(inner)
    elif annotation not in (type(None), Ellipsis):
        yield annotation


def models() -> list[type[BaseModel]]:
    settings = [find_method(name).Settings for name in builtin_names()]
    found: list[type[BaseModel]] = []
    todo: list[Any] = [RunConfig, Suite, LearningRates, PretrainConfig, *settings]
    while todo:
        model = todo.pop()
        if isinstance(model, type) and issubclass(model, BaseModel) and model not in found:
            found.append(model)
            todo += [part for f in model.model_fields.values() for part in parts(f.annotation)]
    return [m for m in found if m.__name__ not in ("Selection", "Settings")]  # a record's; one without fields


def fields(*kinds: type) -> list[tuple[type[BaseModel], str]]:
    return [
        (model, name)
        for model in models()
        for name, field in model.model_fields.items()
        if set(kinds) & set(parts(field.annotation))
    ]


NUMBERS = fields(int, float)
NAMES = [f"{model.__name__}.{name}" for model, name in NUMBERS]


def values(model: type[BaseModel], name: str, value: Any) -> Iterator[Any]:
    """A value in every place of a field: alone, or among the others of a tuple, list or mapping."""
    annotation = model.model_fields[name].annotation
    kinds = [annotation, *(get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ())]
    for kind in kinds:
        if get_origin(kind) is tuple:
            count = len(get_args(kind))
            default = model.model_fields[name].default or (0.5,) * count
            for place in range(count):
                yield [value if i == place else default[i] for i in range(count)]
            return
        if get_origin(kind) is list:
            yield [value]
            return
        if get_origin(kind) is dict:
            inner = get_args(kind)[1]
            yield {"colours": {"0.1": value} if get_origin(inner) is dict else value}
            return
    yield value


def valid(model: type[BaseModel], name: str, value: Any) -> bool:
    try:
        model.model_validate({**BASES.get(model.__name__, {}), **kind_of(model), name: value})
    except ValidationError:
        return False
    return True


def kind_of(model: type[BaseModel]) -> dict[str, Any]:
    kind = model.model_fields.get("kind")
    return {"kind": get_args(kind.annotation)[0]} if kind and not BASES.get(model.__name__) else {}


def test_every_number_has_a_range() -> None:
    assert sorted(NAMES) == sorted(RANGES | dict.fromkeys(RELATED))


def test_the_walk_finds_what_it_should() -> None:
    """The net itself: it sees nested models, sources of all kinds, and settings of every method."""
    names = {model.__name__ for model in models()}
    assert {"Recipe", "Sampling", "Views", "Augment", "SynthSource", "EpicSource", "ImageTower"} <= names
    assert {"STAdapterSettings", "LoRASettings", "PromptSettings"} <= names


@pytest.mark.parametrize(("model", "name"), NUMBERS, ids=NAMES)
def test_no_field_takes_what_is_no_number(model: type[BaseModel], name: str) -> None:
    whole = float not in set(parts(model.model_fields[name].annotation))
    for bad in [*NO_NUMBERS, *(NO_WHOLE_NUMBERS if whole else [])]:
        if model is Recipe and name == "checkpointing" and isinstance(bad, bool):
            continue  # true and false are values of it
        if isinstance(bad, list | dict) and isinstance(next(values(model, name, 0)), type(bad)):
            continue  # an empty list or mapping may be one of no values
        if bad in (1e300, -1e300) and name == "blocks":
            continue  # whole; which blocks there are is for the backbone to say
        for value in values(model, name, bad):
            assert not valid(model, name, value), f"{value!r} is taken"


@pytest.mark.parametrize(("model", "name"), [f for f, n in zip(NUMBERS, NAMES, strict=True) if n in RANGES])
def test_ranges(model: type[BaseModel], name: str) -> None:
    low, high, *below = RANGES[f"{model.__name__}.{name}"]
    whole = isinstance(low, int)
    under = low - 1 if whole else math.nextafter(low, -math.inf)
    last = math.nextafter(high, 0) if below else high
    over = high if below else high + 1 if whole else math.nextafter(high, math.inf)
    for value in values(model, name, low):
        assert valid(model, name, value), f"{value} is refused"
    for value in values(model, name, last):
        assert valid(model, name, value), f"{value} is refused"
    for bad in (under, over):
        for value in values(model, name, bad):
            assert not valid(model, name, value), f"{value} is taken"


@pytest.mark.parametrize(
    ("model", "name"), fields(bool), ids=lambda v: v if isinstance(v, str) else v.__name__
)
def test_switches_are_true_or_false(model: type[BaseModel], name: str) -> None:
    assert valid(model, name, True) and valid(model, name, False)
    bad = ["true", "yes", None, 2, [], math.nan]
    if float not in set(parts(model.model_fields[name].annotation)):
        bad += [0, 1, 1.0]
    for value in bad:
        assert not valid(model, name, value), f"{value!r} is taken"


def test_names_that_become_folders_stay_in_their_place() -> None:
    named = {f"{model.__name__}.{name}": (model, name) for model, name in fields(str)}
    assert named.keys() >= FOLDERS
    for key in FOLDERS:
        model, name = named[key]
        assert valid(model, name, "a-b_c.d@e=1~+")
        for bad in NO_NAMES:
            if key == "MethodConfig.label" and bad in ("", None):
                continue  # the method's name takes its place
            assert not valid(model, name, bad), f"{key}: {bad!r} is taken"


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Recipe, {"epochs": 4, "warmup_epochs": 4.001}),
        (Recipe, {"epochs": 10**9}),
        (BackboneConfig, {"std": [0.2, -1, 0.2]}),
        (BackboneConfig, {"std": [0.2, 0, 0.2]}),
        (Recipe, {"grad_clip": 1e-320}),
        (Recipe, {"betas": [-0.1, 0.999]}),
        (Recipe, {"betas": [0.9, 1.0]}),
        (Recipe, {"betas": [0.9]}),
        (Recipe, {"batch_size": 10**9}),
        (MethodConfig, {"lr": 0}),
    ],
)  # fmt: skip
def test_what_ran_to_its_end_before(model: type[BaseModel], change: dict[str, Any]) -> None:
    base = BASES[model.__name__]
    model.model_validate(base)
    with pytest.raises(ValidationError):
        model.model_validate({**base, **change})


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        ("jitter", [0.99, 1.1]), ("jitter", [1.2, 1.1]), ("jitter", [1.0, 101]), ("jitter", [True, 1.1]),
        ("scale", [0, 1]), ("scale", [0.5, 1.01]), ("scale", [1e-320, 1]), ("scale", [0.6, 0.5]),
        ("ratio", [0, 1]), ("ratio", [-1, 1]), ("ratio", [2, 1]), ("ratio", [0.5, 1e3]),
        ("randaugment", "rand-n0"), ("randaugment", "rand-n1000"), ("randaugment", "rand-m5-mmax9999"),
    ],
)  # fmt: skip
def test_augmentation(place: str, bad: Any) -> None:
    from petl_bench.dataset_config import Augment

    Augment(jitter=(1.0, 1.0), scale=(0.01, 1.0), ratio=(0.5, 2.0), randaugment="rand-m7-n4-mstd0.5-inc1")
    with pytest.raises(ValidationError):
        Augment.model_validate({place: bad})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Views", {"spatial": True}), ("Views", {"spatial": 2}), ("UCF101Source", {"split": True}),
        ("UCF101Source", {"split": 4}), ("HMDB51Source", {"split": 0}), ("STAdapterSettings", {"kernel": [2, 1, 1]}),
        ("DatasetConfig", {"heads": {"a": 0, "b": 2}}), ("DatasetConfig", {"heads": {"a": 2, "b": 2}}),
        ("ImageTower", {"image_size": 7}), ("TextTower", {"heads": 0}), ("PretrainConfig", {"shared": {"x": 1}}),
        ("PretrainConfig", {"warmup_steps": 11, "steps": 10}),
    ],
)  # fmt: skip
def test_values_that_hang_together(kind: str, change: dict[str, Any]) -> None:
    (model,) = (m for m in models() if m.__name__ == kind)
    base = {**BASES.get(kind, {}), **kind_of(model)}
    model.model_validate(base)
    with pytest.raises(ValidationError):
        model.model_validate({**base, **change})


def test_shipped_configs_and_committed_records_are_still_valid() -> None:
    for name in config_names("suites"):
        assert expand(Request(name))
    for name in ("diving48", "ek100", "hmdb51", "ucf101"):
        assert expand(Request(None, ["st_adapter"], [name]))
    records = list((Path(__file__).parents[2] / "results").rglob("record.json"))
    assert records
    for record in records:
        config = json.loads(record.read_text())["config"]
        now = RunConfig.model_validate(config).model_dump(mode="json")
        assert differing(config, now) == [], record


def differing(old: Any, new: Any, path: str = "") -> list[str]:
    """What a record says and its config, read and written anew, does not; new fields may be there."""
    if isinstance(old, dict):
        return [d for k, v in old.items() for d in differing(v, new.get(k), f"{path}.{k}")]
    return [] if json.dumps(old) == json.dumps(new) else [path]
