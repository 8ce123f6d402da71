"""Something-Something-v2 by its publisher's files.

Goyal et al., ICCV 2017; labels.json maps a template to a number (as text), and the split files give each clip
its template with the placeholders in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from petl_bench.data.files import read_json
from petl_bench.data.finder import Finder
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, entry, split_files
from petl_bench.data.lists import Places, is_json, list_entries, read_numbered
from petl_bench.dataset_config import DatasetConfig, SSv2Source
from petl_bench.errors import UserError


def parts(source: SSv2Source) -> list[Part]:
    return [
        Part("labels", source.labels, '{"Pushing something ...": "0", ...}'),
        Part("train", source.train, '[{"id": "123", "template": "Pushing [something] ..."}, ...]'),
        Part("test", source.test, "the same"),
        Part("videos", source.videos, "one file per clip", "/123.webm"),
    ]


def read(
    config: DatasetConfig, source: SSv2Source, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    labels = _read_labels(found["labels"], config.classes)
    names = tuple(sorted(labels, key=labels.__getitem__))
    places = Places.of(root, found, "videos")
    if not any(is_json(found[key]) for key in ("train", "test")):
        return replace(
            read_numbered(found, {"train": places, "test": places}, config.classes, finder), class_names=names
        )
    train, test = (
        split_files(
            _entries(found[key], found["labels"], labels, found["videos"], finder)
            if is_json(found[key])
            else list_entries(found[key], places, config.classes, finder)
        )
        for key in ("train", "test")
    )
    return Listed(names, train, test)


def _read_labels(file: Path, classes: int) -> dict[str, int]:
    labels = read_json(file)
    if not isinstance(labels, dict):
        raise UserError(f"{file}: expected a mapping of class names to numbers.")
    try:
        number_of = {_template(name): int(number) for name, number in labels.items()}
    except (TypeError, ValueError):
        raise UserError(f'{file}: the labels must be whole numbers, such as "0".') from None
    if sorted(number_of.values()) != list(range(classes)):
        raise UserError(
            f"{file}: {len(number_of)} classes, but dataset.classes is {classes}; "
            f"labels must be 0..{classes - 1}, each once."
        )
    return number_of


def _entries(
    split: Path, labels_file: Path, labels: Mapping[str, int], videos: Path, finder: Finder
) -> Iterator[Entry]:
    entries = read_json(split)
    for position, item in enumerate(entries if isinstance(entries, list) else [None]):
        try:
            clip_id, template = str(item["id"]), _template(str(item["template"]))
        except (TypeError, KeyError):
            raise UserError(f'{split}: entry {position}: expected {{"id": ..., "template": ...}}.') from None
        if template not in labels:
            raise UserError(
                f"{split}: entry {position} (id {clip_id}): {template!r} is not a class of {labels_file}."
            )
        name = f"{clip_id}.webm"
        yield entry(finder.find(videos, name), videos / name, labels[template], clip_id)


def _template(text: str) -> str:
    return text.replace("[", "").replace("]", "")
