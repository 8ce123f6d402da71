"""Text lists, a line `path label` for each clip, and CSV files with a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from petl_bench.data.files import csv_columns, read_csv, read_lines
from petl_bench.data.finder import Finder, composed, place_name, relative_name
from petl_bench.data.labels import Written, check_start, number_of, read_names
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, LeftOut, Listed, entry, numbered, split_files
from petl_bench.dataset_config import DatasetConfig, ListSource
from petl_bench.errors import UserError

PATH = ("path", "video", "video_path", "file", "filename")  # what peers call these columns
LABEL = ("label", "class", "class_name", "label_name")
SPLIT = ("split", "subset")
TRAINING = {"train", "training"}
# two words for one part; both in one file are two parts, and nobody can tell which is which
TESTS = ({"test", "testing"}, {"eval", "evaluation"})
VALIDATION = ({"val", "valid", "validate", "validation"}, {"dev", "development"})
MARKS = (TRAINING, *TESTS, *VALIDATION)


class Row(NamedTuple):
    """A line of a list: where it is, the path as written, the label as written, the split or ""."""

    file: Path
    line: int
    path: str
    label: str
    split: str

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.line}"


Rows = Mapping[str, Sequence[Row]]  # of "train" and "test"


@dataclass(frozen=True)
class Places:
    """Where the paths of a list may lie, and how files are named.

    folders: a path is relative to the first that has it.
    parts: the folders of videos by the fields that say them.
    """

    root: Path
    folders: tuple[Path, ...]
    parts: Mapping[str, Path]

    @classmethod
    def of(cls, root: Path, found: Mapping[str, Path], videos: str) -> Places:
        """Of paths relative to the folder `found[videos]`, or to the root."""
        parts = {key: folder for key, folder in found.items() if key.endswith("videos")}
        return cls(root, (found[videos], root), parts)

    def entry(self, row: Row, label: int, finder: Finder) -> Entry:
        path = finder.first(self.folders, (row.path,))
        expected = self.folders[0] / row.path
        here = path or expected
        base = next((f for f in self.folders if path and path.is_relative_to(f)), self.folders[0])
        return entry(
            path, expected, label, relative_name(here, base), place_name(here, self.root, self.parts)
        )


def parts(source: ListSource) -> list[Part]:
    return [
        Part("train", source.train, "lines `path label`, or CSV with the columns path, label[, split]"),
        Part("test", source.test, "the same"),
        Part("videos", source.videos, "the folder that paths are relative to", "/any/path.mp4"),
    ]


def read(
    config: DatasetConfig, source: ListSource, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    rows, left_out = read_rows(found["train"], found["test"])
    names = class_names(rows)
    if names is None:
        labels = _numbers(config.classes)
    else:
        labels = numbered(
            names, config.classes, " and ".join({str(found["train"]): 0, str(found["test"]): 0})
        )
    places = Places.of(root, found, "videos")
    return _listed(rows, {"train": places, "test": places}, labels, finder, left_out)


def read_numbered(
    files: Mapping[str, Path], places: Mapping[str, Places], classes: int, finder: Finder
) -> Listed:
    """A data set by two lists whose labels are numbers; classes are called like their numbers."""
    rows, left_out = read_rows(files["train"], files["test"])
    check_start(_written(rows))
    return _listed(rows, places, _numbers(classes), finder, left_out)


def list_entries(file: Path, places: Places, classes: int, finder: Finder) -> Iterator[Entry]:
    """The clips of one list whose labels are numbers."""
    labels = _numbers(classes)
    return (places.entry(row, _label(row, labels), finder) for row in _rows(file))


def read_rows(train: Path, test: Path) -> tuple[dict[str, list[Row]], tuple[LeftOut, ...]]:
    """The rows of the training and test split, and those of neither; one CSV file with a column `split` may hold both.

    "test" is the rows marked so, or where there are none those marked "val". Others are left out: the
    package holds out a validation part of the training split itself.

    Raises:
        UserError: a mark that is not known, or two of which it cannot be told which is the test split.
    """
    rows = {"train": list(_rows(train)), "test": list(_rows(test))}
    if train == test and (unmarked := next((row for row in rows["train"] if not row.split), None)):
        raise UserError(f"{unmarked.where}: no value for 'split', and the file holds both splits. {_marks()}")
    for row in (*rows["train"], *rows["test"]):
        if row.split and not any(row.split in words for words in MARKS):
            raise UserError(f"{row.where}: the split {row.split!r} is not known. {_marks()}")
    marks = {row.split for row in rows["test"]}
    testing = next(
        (part for words in (TESTS, VALIDATION) if marks & (part := _one(words, marks, test))), {""}
    )
    kept = {
        "train": [row for row in rows["train"] if row.split in TRAINING or not row.split],
        "test": [row for row in rows["test"] if row.split in testing or not row.split],
    }
    used = {(row.file, row.line) for split in kept.values() for row in split}
    others = {(row.file, row.line): row.split for split in rows.values() for row in split}
    lost = Counter(mark for place, mark in others.items() if place not in used)
    why = "the training split's own validation part is used instead"
    left_out = [
        LeftOut(f"marked {mark}" + ("" if mark in TRAINING | _all(TESTS) else f"; {why}"), count, kind="row")
        for mark, count in lost.items()
    ]
    return kept, tuple(left_out)


def class_names(rows: Rows) -> set[str] | None:
    """The names that labels are; None where they are whole numbers. Raises UserError where they are neither."""
    names = read_names(_written(rows))
    if names is None:
        check_start(_written(rows))
    return names


def written_labels(rows: Rows) -> list[Written]:
    """The labels of both splits, as they are written."""
    return list(_written(rows))


def is_json(file: Path) -> bool:
    """Whether a split file is the publisher's JSON and not a list."""
    return file.suffix.lower() == ".json"


def _written(rows: Rows) -> Iterator[Written]:
    return (Written(row.label, row.where, side) for side, members in rows.items() for row in members)


def _all(parts: Sequence[set[str]]) -> set[str]:
    return set().union(*parts)


def _one(parts: Sequence[set[str]], marks: set[str], file: Path) -> set[str]:
    there = [sorted(words & marks)[0] for words in parts if words & marks]
    if len(there) > 1:
        raise UserError(f"{file}: rows are marked {there[0]!r} and {there[1]!r}. {_marks()}")
    return _all(parts)


def _marks() -> str:
    return (
        "Mark rows train, test (or eval) or val (or dev), one word for each; val is the test split where there is no "
        "test; remove rows of none of them."
    )


def _numbers(classes: int) -> dict[str, int]:
    return {str(number): number for number in range(classes)}


def _label(row: Row, labels: Mapping[str, int]) -> int:
    number = number_of(row.label)
    label = labels.get(composed(row.label), None if number is None else labels.get(str(number)))
    if label is None:
        raise UserError(
            f"{row.where}: expected `path label` with a label of 0..{len(labels) - 1} "
            f"(dataset.classes is {len(labels)}), found the label {row.label!r}."
        )
    return label


def _listed(
    rows: Rows,
    places: Mapping[str, Places],
    labels: Mapping[str, int],
    finder: Finder,
    left_out: tuple[LeftOut, ...],
) -> Listed:
    entries: dict[str, list[Entry]] = {"train": [], "test": []}
    first: dict[str, tuple[int, Row]] = {}
    for split, members in rows.items():
        ids: dict[str, tuple[str, Row]] = {}
        for row in members:
            clip, there = places[split].entry(row, _label(row, labels), finder)
            entries[split].append((clip, there))
            label, other = first.setdefault(clip.name, (clip.label, row))
            if label != clip.label:
                raise UserError(
                    f"{row.where}: {row.path} has the label {row.label!r}, but {other.label!r} in {other.where}. A "
                    "clip has one label."
                )
            name, other = ids.setdefault(clip.id, (clip.name, row))
            if name != clip.name:
                raise UserError(
                    f"{row.where}: {row.path} and {other.path} ({other.where}) are two files, but both are called "
                    f"{clip.id} in their folders. Rename one of them."
                )
    train, test = (split_files(entries[split]) for split in ("train", "test"))
    return Listed(tuple(labels), train, test, left_out=left_out)


def _rows(file: Path) -> Iterator[Row]:
    columns = csv_columns(file)
    path, label, split = (next((c for c in columns if c in known), None) for known in (PATH, LABEL, SPLIT))
    if path and label:
        for line, row in read_csv(file, (path, label)):
            yield Row(file, line, row[path], row[label], row.get(split, "").lower() if split else "")
        return
    for line, text in read_lines(file):
        # the label follows the last space or comma; programs that write CSV put quotes around either
        match = re.fullmatch(r'(.+?)[\s,]+("?)(\d+(?:\.0*)?)\2', text)
        if not match:
            raise UserError(
                f"{file}, line {line}: expected `path label` with a whole number for a label, found {text!r}. "
                "A CSV file needs a header with `path` and `label`."
            )
        yield Row(file, line, _unquoted(match[1]), match[3], "")


def _unquoted(path: str) -> str:
    quoted = len(path) > 2 and path[0] == path[-1] == '"'
    return path[1:-1].replace('""', '"') if quoted else path
