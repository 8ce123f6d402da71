"""Class folders: train/<class>/<video>, test/<class>/<video>. Classes are numbered in alphabetical order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from petl_bench.data.finder import Finder, composed, is_video, relative_name
from petl_bench.data.layout import Part
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
    names = class_folders(found["train"]) | class_folders(found["test"])
    labels = numbered(names, config.classes, f"{found['train']} and {found['test']}")
    train, test = (split_files(_entries(found[key], labels, root)) for key in ("train", "test"))
    return Listed(tuple(labels), train, test)


def class_folders(folder: Path) -> set[str]:
    """The names of the folders that hold videos, at any depth."""
    return {composed(path.name) for path in folder.iterdir() if path.is_dir() and any(_videos(path))}


def _entries(folder: Path, labels: Mapping[str, int], root: Path) -> Iterator[Entry]:
    for path in sorted(folder.iterdir(), key=lambda path: composed(path.name)):
        if (name := composed(path.name)) in labels:
            for video in _videos(path):
                _require_text(video)
                yield Clip(video, labels[name], relative_name(video, root)), True


def _require_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path!r}: the name is not UTF-8; rename it.") from None


def _videos(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=raise_if_of_machine, followlinks=True):
        folders.sort(key=composed)
        for name in sorted(files, key=composed):
            if is_video(name) and not name.startswith("."):
                yield Path(parent) / name
