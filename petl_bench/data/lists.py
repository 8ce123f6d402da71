"""Text lists, a line `path label` for each clip, and CSV files with a header."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from petl_bench.data.files import csv_columns, read_csv, read_lines
from petl_bench.data.finder import Finder, composed, relative_name
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, entry, numbered, split_files
from petl_bench.dataset_config import DatasetConfig, ListSource
from petl_bench.errors import UserError

PATH = ("path", "video", "video_path", "file", "filename")  # what peers call these columns
LABEL = ("label", "class", "class_name", "label_name")
SPLIT = ("split", "subset")
TRAINING = {"train", "training"}
TESTS = ({"test", "testing"}, {"val", "valid", "validate", "validation"})  # the first that has rows


class Row(NamedTuple):
    """A line of a list: where it stands, the path as written, the label as written, the split or ""."""

    line: int
    path: str
    label: str
    split: str


def parts(source: ListSource) -> list[Part]:
    return [
        Part("train", source.train, "lines `path label`, or CSV with the columns path, label[, split]"),
        Part("test", source.test, "the same"),
        Part("videos", source.videos, "the folder that paths are relative to", "/any/path.mp4"),
    ]


def read(
    config: DatasetConfig, source: ListSource, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    rows = read_rows(found["train"], found["test"])
    names = class_names(rows)
    if names is None:  # labels are numbers
        labels = {str(number): number for number in range(config.classes)}
    else:
        labels = numbered(
            names, config.classes, " and ".join({str(found["train"]): 0, str(found["test"]): 0})
        )
    bases = [found["videos"], root]
    train, test = (
        split_files(_entries(found[key], rows[key], bases, labels, finder)) for key in ("train", "test")
    )
    return Listed(tuple(labels), train, test)


def read_rows(train: Path, test: Path) -> dict[str, list[Row]]:
    """The rows of the training and test split; one CSV file with a column `split` may hold both.

    "test" is the rows marked so, or where there are none those marked "val". Others are left out: the
    package holds out a validation part of the training split itself.
    """
    rows = {"train": list(_rows(train)), "test": list(_rows(test))}
    marks = {row.split for row in rows["test"]}
    testing = next((t for t in TESTS if t & marks), {""})
    return {
        "train": [row for row in rows["train"] if row.split in TRAINING or not row.split],
        "test": [row for row in rows["test"] if row.split in testing or not row.split],
    }


def class_names(rows: Mapping[str, Sequence[Row]]) -> set[str] | None:
    """The names that labels are; None where they are whole numbers."""
    labels = {row.label for split in rows.values() for row in split}
    return None if all(label.isdecimal() for label in labels) else {composed(label) for label in labels}


def is_json(file: Path) -> bool:
    """Whether a split file is the publisher's JSON and not a list."""
    return file.suffix.lower() == ".json"


def list_entries(file: Path, folders: Sequence[Path], classes: int, finder: Finder) -> Iterator[Entry]:
    """The clips of a list whose labels are numbers; paths are relative to the first folder that has them."""
    labels = {str(number): number for number in range(classes)}
    return _entries(file, list(_rows(file)), folders, labels, finder)


def _entries(
    file: Path, rows: Sequence[Row], folders: Sequence[Path], labels: Mapping[str, int], finder: Finder
) -> Iterator[Entry]:
    for row in rows:
        # a number may have zeros before it
        label = labels.get(composed(row.label), labels.get(row.label.lstrip("0") or "0"))
        if label is None:
            raise UserError(
                f"{file}, line {row.line}: expected `path label` with a label of 0..{len(labels) - 1} "
                f"(dataset.classes is {len(labels)}), found the label {row.label!r}."
            )
        path = finder.first(folders, (row.path,))
        base = next((f for f in folders if path and path.is_relative_to(f)), folders[0])
        expected = folders[0] / row.path
        yield entry(path, expected, label, relative_name(path or expected, base))


def _rows(file: Path) -> Iterator[Row]:
    columns = csv_columns(file)
    path, label, split = (next((c for c in columns if c in known), None) for known in (PATH, LABEL, SPLIT))
    if path and label:
        for line, row in read_csv(file, (path, label)):
            yield Row(line, row[path], row[label], row.get(split, "").lower() if split else "")
        return
    for line, text in read_lines(file):
        match = re.fullmatch(r"(.+?)[\s,]+(\d+)", text)  # the label follows the last space or comma
        if not match:
            raise UserError(
                f"{file}, line {line}: expected `path label` with a whole number for a label, found {text!r}. "
                "A CSV file needs a header with `path` and `label`."
            )
        yield Row(line, match[1], match[2], "")
