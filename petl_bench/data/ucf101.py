"""UCF101 by its publisher's split files (Soomro et al., arXiv 1212.0402).

classInd.txt numbers the classes from 1; a line of trainlist0N.txt is `Class/video.avi number`, of testlist0N.txt
`Class/video.avi`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from petl_bench.data.files import read_lines
from petl_bench.data.finder import Finder
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, entry, split_files
from petl_bench.dataset_config import DatasetConfig, UCF101Source
from petl_bench.errors import UserError


def parts(source: UCF101Source) -> list[Part]:
    def inside(name: str) -> tuple[str, ...]:
        return tuple(f"{folder}/{name}" for folder in source.splits)

    return [
        Part("classes", inside("classInd.txt"), "lines `1 ApplyEyeMakeup`"),
        Part("train", inside(f"trainlist{source.split:02d}.txt"), "lines `ApplyEyeMakeup/v_x.avi 1`"),
        Part("test", inside(f"testlist{source.split:02d}.txt"), "lines `ApplyEyeMakeup/v_x.avi`"),
        Part("videos", source.videos, "one folder for each class", "/ApplyEyeMakeup/v_x.avi"),
    ]


def read(
    config: DatasetConfig, source: UCF101Source, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    labels = _labels(found["classes"], config.classes)
    train, test = (
        split_files(_entries(found[key], labels, found["videos"], finder)) for key in ("train", "test")
    )
    return Listed(tuple(sorted(labels, key=labels.__getitem__)), train, test)


def _labels(file: Path, classes: int) -> dict[str, int]:
    labels = {}
    for line, text in read_lines(file):
        number, _, name = text.partition(" ")
        if not number.isdecimal() or not name.strip():
            raise UserError(f"{file}, line {line}: expected `number class`, found {text!r}.")
        labels[name.strip()] = int(number) - 1
    if sorted(labels.values()) != list(range(classes)):
        raise UserError(
            f"{file}: {len(labels)} classes, but dataset.classes is {classes}; numbers must be 1..{classes}, "
            "each once."
        )
    return labels


def _entries(file: Path, labels: Mapping[str, int], videos: Path, finder: Finder) -> Iterator[Entry]:
    for line, text in read_lines(file):
        path, _, number = text.rpartition(" ")
        if not path or not number.isdecimal():
            path, number = text, ""
        folder = path.partition("/")[0]
        if folder not in labels or (number and int(number) - 1 != labels[folder]):
            raise UserError(
                f"{file}, line {line}: expected `Class/video.avi` with a class of classInd.txt"
                f"{' and its number' if number else ''}, found {text!r}."
            )
        yield entry(finder.find(videos, path), videos / path, labels[folder], path)
