"""Own data: which layout a folder has, how many classes there are, and a config for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from petl_bench.config import validated
from petl_bench.data.files import csv_columns
from petl_bench.data.folders import class_folders, class_names
from petl_bench.data.folders import parts as folder_parts
from petl_bench.data.labels import count_numbers
from petl_bench.data.layout import find_parts
from petl_bench.data.left_out import is_hidden
from petl_bench.data.listed import Listed
from petl_bench.data.lists import LABEL, PATH, SPLIT, read_rows, written_labels
from petl_bench.data.lists import class_names as list_names
from petl_bench.data.lists import parts as list_parts
from petl_bench.data.readers import read_files
from petl_bench.dataset_config import DatasetConfig, FoldersSource, ListSource, data_home
from petl_bench.errors import UserError

OwnSource = ListSource | FoldersSource
LAYOUTS = """  FOLDER/train.txt, FOLDER/test.txt (or val.txt)    lines `path label`, labels are whole numbers from 0
  FOLDER/train.csv, FOLDER/test.csv (or val.csv)    columns path and label (a name or a number)
  FOLDER/any.csv                                    the same with a column split (train, test or val)
  FOLDER/train/<class>/*.mp4, FOLDER/test/<class>/*.mp4 (or val)"""
PROTOCOL: Mapping[str, Any] = {
    "sampling": {"frames": 8, "mode": "official_segments"},
    "interpolation": "bicubic",
    "augment": {"crop": "resized", "scale": [0.08, 1.0], "flip": False},
    "views": {"temporal": 1, "spatial": 3},
    "backbone": "clip_vit_b16",
}
RECIPE: Mapping[str, Any] = {
    "epochs": 50,
    "lr": 1.0e-3,
    "lr_batch": 256,
    "warmup_epochs": 2,
    "weight_decay": 0.01,
    "head_dropout": 0.5,
    "validation": 0.1,
    "validate_every": 5,
    "test_batch_size": 16,
}
LARGEST_BATCH = 64


@dataclass(frozen=True)
class Described:
    """A folder of own data."""

    source: OwnSource
    classes: int
    listed: Listed


def describe(name: str, root: Path, given: Mapping[str, Any]) -> Described:
    """Look at a folder of own data.

    Args:
        name: of the data set, for messages.
        root: its folder.
        given: `train`, `test` and `videos` where the user says them, as in a config's source.

    Raises:
        UserError: the folder has none of the known layouts.
    """
    source = _source(name, root, given)
    classes = _count(source, root)
    if classes < 2:
        raise UserError(f"{root}: {classes} class; a data set needs two or more.")
    fields = {"name": name, "summary": "", "classes": classes, "source": source, "root": str(root)}
    config = validated(DatasetConfig, fields, f"Data set {name!r}")
    return Described(source, classes, read_files(config, source, root))


def completed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The raw config of a data set whose source is `custom`, with the layout and the classes that its folder has."""
    name = str(raw.get("name"))
    root = Path(str(raw["root"])).expanduser() if raw.get("root") else data_home() / name
    given = {key: value for key, value in raw["source"].items() if key != "kind"}
    found = describe(name, root, given)
    return {"classes": found.classes, **raw, "source": found.source.model_dump(mode="json")}


def config_text(name: str, root: Path, found: Described, summary: str) -> str:
    """A commented YAML file for own data, with the protocol of the official code for SSv2 and batches that fit."""
    train = len(found.listed.train.clips)
    largest = 2 ** int(math.log2(max(train * (1 - RECIPE["validation"]), 1)))
    settings = {
        "summary": summary or f"own data, {found.classes} classes",
        "classes": found.classes,
        "root": str(root),
        "source": _plain(found.source, root),
        **PROTOCOL,
        "recipe": {"batch_size": min(LARGEST_BATCH, largest), **RECIPE},
    }
    body = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110)
    return (
        f"# Written by `petl-bench datasets add {name}`: {train:,} training and "
        f"{len(found.listed.test.clips):,} test clips in {found.classes} classes.\n"
        "# Sampling, augmentation, views and recipe are those of the official ST-Adapter code for\n"
        "# Something-Something-v2 with smaller batches: a start, not tuned. `flip: true` helps where no class\n"
        "# tells left from right.\n" + body
    )


def _source(name: str, root: Path, given: Mapping[str, Any]) -> OwnSource:
    if not root.is_dir():
        raise UserError(
            f"Data set {name!r} was not found: no folder {root}.\n"
            "Point to it with `--set dataset.root=FOLDER`, or make a config of its own with "
            f"`petl-bench datasets add NAME --root FOLDER`. One of these is expected:\n{LAYOUTS}"
        )
    chosen = {key: value for key, value in given.items() if value is not None}
    what = f"The source of data set {name!r}"
    lists = validated(ListSource, {"kind": "list", **chosen}, what)
    parts = {key: value for key, value in chosen.items() if key != "videos"}
    folders = validated(FoldersSource, {"kind": "folders", **parts}, what)
    there = find_parts(list_parts(lists), root)
    if all(there.get(key) and there[key].is_file() for key in ("train", "test")):
        return lists
    if "train" in there and "test" not in chosen and _has_split(there["train"]):
        return lists.model_copy(update={"test": lists.train})
    if not chosen:
        whole = [file for file in sorted(root.glob("*.csv")) if not is_hidden(file.name) and _has_split(file)]
        if len(whole) > 1:
            raise UserError(
                f"{whole[0]} and {whole[1]}: both have the columns path, label and split. Say which is meant, with "
                "--train FILE --test FILE (`datasets add`), or with `--set dataset.source.train=FILE`."
            )
        if whole:
            return ListSource(kind="list", train=(whole[0].name,), test=(whole[0].name,))
    sides = _sides(folders, root)
    if len(sides) == 2 and all(class_folders(side) for side in sides):
        return folders
    raise UserError(
        f"Data set {name!r}: {root} has none of the layouts that are known:\n{LAYOUTS}\n"
        "Where files are called otherwise, say which with --train and --test (`datasets add`), or with "
        "`--set dataset.source.train=PATH`."
    )


def _sides(source: FoldersSource, root: Path) -> list[Path]:
    """The folders of the training and of the test split, as far as they are there."""
    there = find_parts(folder_parts(source), root)
    return [path for path in there.values() if path.is_dir()]


def _has_split(file: Path) -> bool:
    columns = set(csv_columns(file)) if file.is_file() else set()
    return all(columns & set(known) for known in (PATH, LABEL, SPLIT))


def _count(source: OwnSource, root: Path) -> int:
    if isinstance(source, FoldersSource):
        return len(class_names(_sides(source, root)))
    there = find_parts(list_parts(source), root)
    rows, _ = read_rows(there["train"], there["test"])
    for split, members in rows.items():
        if not members:
            raise UserError(f"{there[split]}: no clip of the {split} split.")
    names = list_names(rows)
    return count_numbers(written_labels(rows)) if names is None else len(names)


def _plain(source: OwnSource, root: Path) -> dict[str, Any]:
    """The source with the one place that is there for each part, relative to the root."""
    places = source.model_dump(exclude={"kind"})
    found = {key: next(p for p in value if (root / p).exists()) for key, value in places.items()}
    return {"kind": source.kind, **found}
