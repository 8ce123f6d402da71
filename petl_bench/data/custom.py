"""Own data: which layout a folder has, how many classes there are, and a config for it."""

from __future__ import annotations

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
from petl_bench.data.manifest import Manifest, hold_out
from petl_bench.data.readers import read_files
from petl_bench.dataset_config import DatasetConfig, FoldersSource, ListSource, data_home
from petl_bench.errors import UserError
from petl_bench.plan_text import plan_text
from petl_bench.recipe_by_size import SizedRecipe, recipe_by_size

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
RECIPE: Mapping[str, Any] = {  # the rest of it depends on the number of clips
    "weight_decay": 0.01,
    "head_dropout": 0.5,
    "validation": 0.1,
    "validate_every": 5,
    "test_batch_size": 16,
}


@dataclass(frozen=True)
class Described:
    """A folder of own data."""

    source: OwnSource
    classes: int
    listed: Listed

    def train_and_validation(self, share: float) -> tuple[int, int]:
        """Training clips that are left, and those held out, where `share` of each class is; with a file alone."""
        files = self.listed.train
        left, held_out = hold_out(Manifest("train", files.clips + files.missing), share)
        there = {*files.clips}
        return sum(clip in there for clip in left.clips), sum(clip in there for clip in held_out.clips)

    def sized_recipe(self, share: float) -> SizedRecipe:
        """What of a recipe depends on the number of training clips, where `share` of each class is held out."""
        return recipe_by_size(max(1, self.train_and_validation(share)[0]))


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


def completed(raw: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The raw config of a data set whose source is `custom`, and its recipe, with what its folder says: the layout,
    the classes, and the recipe by the number of clips where `recipe` leaves it open."""
    name = str(raw.get("name"))
    root = Path(str(raw["root"])).expanduser() if raw.get("root") else data_home() / name
    given = {key: value for key, value in raw["source"].items() if key != "kind"}
    found = describe(name, root, given)
    config = {"classes": found.classes, **raw, "source": found.source.model_dump(mode="json")}
    sized = found.sized_recipe(_share(recipe)).fields()
    if "lr" in recipe:  # one rate, per batch or not: never a half of each
        sized = {field: value for field, value in sized.items() if field != "lr_batch"}
    return config, {**sized, **recipe}


def _share(recipe: Mapping[str, Any]) -> float:
    """The part that is held out; a value that cannot be one is the recipe's to name."""
    share = recipe.get("validation", RECIPE["validation"])
    return share if isinstance(share, int | float) and 0 <= share < 1 else 0.0


def config_text(name: str, root: Path, found: Described, summary: str) -> str:
    """A commented YAML file for own data: the protocol of the official code for SSv2, the recipe by size."""
    share = RECIPE["validation"]
    sized = found.sized_recipe(share)
    settings = {
        "summary": summary or f"own data, {found.classes} classes",
        "classes": found.classes,
        "root": str(root),
        "source": _plain(found.source, root),
        **PROTOCOL,
    }
    recipe = {**sized.fields(), **RECIPE}
    body, recipe_body = (
        yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=110)
        for part in (settings, {"recipe": recipe})
    )
    return (
        f"# Written by `petl-bench datasets add {name}`: {len(found.listed.train.clips):,} training and "
        f"{len(found.listed.test.clips):,} test clips in {found.classes} classes.\n"
        "# Sampling, augmentation and views are those of the official ST-Adapter code for\n"
        "# Something-Something-v2. `flip: true` helps where no class tells left from right.\n"
        + body
        + _why(sized, found.train_and_validation(share)[1])
        + recipe_body
    )


def planned(found: Described) -> str:
    """What training by the written recipe is, in a line."""
    share = RECIPE["validation"]
    return _plan(found.sized_recipe(share), found.train_and_validation(share)[1])


def _plan(sized: SizedRecipe, held_out: int = 0) -> str:
    return plan_text(sized.clips, sized.steps_per_epoch, sized.steps, [sized.peak], held_out)


def _why(sized: SizedRecipe, held_out: int) -> str:
    """The comment before the recipe."""
    lines = [
        f"By the number of clips: {_plan(sized)}.",
        "The batch is a fifth of the clips, 64 at most, so that there are 250 steps or more; the fewer the steps,",
        "the higher the rate, from 2.5e-4 (5,000 steps or more, as the official code has it) up to 5e-3. A start,",
        "not tuned: methods that train pretrained weights (full, partial, temporal) may want a tenth of a high",
        "rate, such as `--set full.lr=...`. Another number of clips: `petl-bench datasets add --force` again.",
    ]
    if held_out:
        one = 100 / held_out
        lines.append(
            f"Held out for validation: {held_out:,} clips, at least one of each class that has two (one clip is "
            f"{one:.1f} points)."
        )
        if one > 1:
            lines.append("So few choose no learning rate. `validation: 0` trains on them, too.")
    else:
        lines.append("No class has two clips: none is held out for validation.")
    return "".join(f"# {line}\n" for line in lines)


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
