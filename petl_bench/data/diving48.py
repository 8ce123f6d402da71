"""Diving48 by the second version of its publisher's annotations (Li et al., ECCV 2018; V2 of October 2020).

A class is a dive, named by its four attributes. Files hold one dive each: start_frame and end_frame span the
whole file and are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from petl_bench.data.files import read_json, whole
from petl_bench.data.finder import Finder
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, entry, split_files
from petl_bench.dataset_config import DatasetConfig, Diving48Source
from petl_bench.errors import UserError


def parts(source: Diving48Source) -> list[Part]:
    return [
        Part("vocabulary", source.vocabulary, '[["Back", "15som", "05Twis", "FREE"], ...]'),
        Part("train", source.train, '[{"vid_name": "abc_00001", "label": 0, ...}, ...]'),
        Part("test", source.test, "the same"),
        Part("videos", source.videos, "one file for each dive", "/abc_00001.mp4"),
    ]


def read(
    config: DatasetConfig, source: Diving48Source, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    file = found["vocabulary"]
    words = read_json(file)
    if not isinstance(words, list) or len(words) != config.classes:
        raise UserError(f"{file}: expected a list of {config.classes} classes (dataset.classes).")
    names = tuple(" ".join(map(str, word)) if isinstance(word, list) else str(word) for word in words)
    train, test = (
        split_files(_entries(found[key], config.classes, found["videos"], finder))
        for key in ("train", "test")
    )
    return Listed(names, train, test)


def _entries(file: Path, classes: int, videos: Path, finder: Finder) -> Iterator[Entry]:
    items = read_json(file)
    for position, item in enumerate(items if isinstance(items, list) else [None]):
        try:
            name, number = str(item["vid_name"]), item["label"]
        except (TypeError, KeyError):
            raise UserError(
                f'{file}: entry {position}: expected {{"vid_name": ..., "label": ...}}.'
            ) from None
        label = whole(number, file, f"entry {position}", "label", classes)
        yield entry(finder.find(videos, f"{name}.mp4"), videos / f"{name}.mp4", label, name)
