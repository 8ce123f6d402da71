"""Class folders: train/<class>/<video>, test/<class>/<video>. Classes are numbered in alphabetical order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from petl_bench.data.finder import Finder, composed, is_video, relative_name
from petl_bench.data.labels import check_alike
from petl_bench.data.layout import Part
from petl_bench.data.left_out import Leaving, is_hidden
from petl_bench.data.listed import Entry, Listed, numbered, split_files
from petl_bench.data.manifest import Clip
from petl_bench.dataset_config import DatasetConfig, FoldersSource
from petl_bench.errors import UserError
from petl_bench.machine import raise_if_of_machine


def parts(source: FoldersSource) -> list[Part]:
    return [
        Part("train", source.train, "a folder for each class", "/<class>/video.mp4"),
        Part("test", source.test, "the same", "/<class>/video.mp4"),
    ]


def read(
    config: DatasetConfig, source: FoldersSource, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    names = class_names([found["train"], found["test"]])
    labels = numbered(names, config.classes, f"{found['train']} and {found['test']}")
    leaving = Leaving(root)
    train, test = (split_files(_entries(found[key], labels, root, leaving)) for key in ("train", "test"))
    return Listed(tuple(labels), train, test, left_out=leaving.reasons())


def class_names(splits: list[Path]) -> set[str]:
    """The classes of both splits. Raises UserError for one that is spelt in two ways."""
    folders = {name: str(path) for split in splits for name, path in class_folders(split).items()}
    check_alike(folders)
    return set(folders)


def class_folders(folder: Path) -> dict[str, Path]:
    """The folders that hold videos, at any depth, by their names; hidden ones are no classes."""
    return {
        composed(path.name): path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not is_hidden(path.name) and any(_videos(path, None))
    }


def _entries(folder: Path, labels: Mapping[str, int], root: Path, leaving: Leaving) -> Iterator[Entry]:
    ids: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: composed(path.name)):
        name = composed(path.name)
        if not path.is_dir():
            leaving.note_file(path, "not in the folder of a class")
        elif is_hidden(name):
            leaving.note_hidden(path)
        elif name not in labels:
            leaving.note_empty(path)
        for video in _videos(path, leaving) if name in labels and path.is_dir() else ():
            _require_text(video)
            clip_id = relative_name(video, root)
            if (other := ids.setdefault(clip_id, video)) != video:
                raise UserError(
                    f"{video} and {other} have one name, but for how its accents are written. Rename one of them."
                )
            yield Clip(video, labels[name], clip_id), True


def _require_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path!r}: the name is not UTF-8; rename it.") from None


def _videos(folder: Path, leaving: Leaving | None) -> Iterator[Path]:
    """The videos of a class. leaving: notes what is left out."""
    seen = set()  # a link to a folder above would be walked for ever
    for parent, folders, files in os.walk(folder, onerror=raise_if_of_machine, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in [name for name in folders if is_hidden(name)]:
            folders.remove(name)
            if leaving:
                leaving.note_hidden(Path(parent) / name)
        folders.sort(key=composed)
        for name in sorted(files, key=composed):
            if is_video(name) and not is_hidden(name):
                yield Path(parent) / name
            elif leaving:
                leaving.note_file(Path(parent) / name)
