"""Kinetics by its publisher's CSVs (label, youtube_id, time_start, time_end, split), or by text lists.

Kay et al., arXiv 1705.06950. Classes are numbered in the alphabetical order of their names. A video is
`<id>_<start>_<end>.mp4` with six digits each, as the publisher's download tools name it, or `<id>.mp4`; it lies
in a folder of its class, or in one folder with all others. Links rot: what has no file is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from petl_bench.data.files import csv_columns, read_csv
from petl_bench.data.finder import Finder, composed
from petl_bench.data.labels import check_alike
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, entry, numbered, split_files
from petl_bench.data.lists import Places, read_numbered
from petl_bench.dataset_config import DatasetConfig, KineticsSource
from petl_bench.errors import UserError

COLUMNS = ("label", "youtube_id", "time_start", "time_end")


class _Row(NamedTuple):
    label: str
    youtube_id: str
    clip_id: str
    where: str


def parts(source: KineticsSource) -> list[Part]:
    return [
        Part("train", source.train, "label,youtube_id,time_start,time_end,split; or lines `path label`"),
        Part("test", source.test, "the same"),
        Part(
            "train_videos",
            source.train_videos,
            "or <id>.mp4; in class folders or flat",
            "/abseiling/<id>_000010_000020.mp4",
        ),
        Part("test_videos", source.test_videos, "the same", "/abseiling/<id>_000010_000020.mp4"),
        Part("replacements", source.replacements, "whole videos for broken ones", needed=False),
    ]


def read(
    config: DatasetConfig, source: KineticsSource, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    as_published = {key: "youtube_id" in csv_columns(found[key]) for key in ("train", "test")}
    if any(as_published.values()) and not all(as_published.values()):
        raise UserError(
            f"{found['train']} and {found['test']}: one is a Kinetics CSV, the other a text list. Classes may "
            "be numbered differently in them: use two files of one kind (dataset.source.train, .test)."
        )
    if not all(as_published.values()):
        places = {key: Places.of(root, found, f"{key}_videos") for key in ("train", "test")}
        return read_numbered(found, places, config.classes, finder)
    rows = {key: list(_rows(found[key])) for key in ("train", "test")}
    where = f"{found['train']} and {found['test']}"
    check_alike({row.label: row.where for r in rows.values() for row in r})
    labels = numbered((row.label for r in rows.values() for row in r), config.classes, where)
    train, test = (
        split_files(_entries(rows[key], labels, found[f"{key}_videos"], found.get("replacements"), finder))
        for key in ("train", "test")
    )
    return Listed(tuple(labels), train, test)


def _rows(file: Path) -> Iterator[_Row]:
    for line, row in read_csv(file, COLUMNS):
        try:
            start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
        except ValueError:
            raise UserError(
                f"{file}, line {line}: time_start and time_end must be seconds, found "
                f"{row['time_start']!r} and {row['time_end']!r}."
            ) from None
        clip_id = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        yield _Row(composed(row["label"]), row["youtube_id"], clip_id, f"{file}, line {line}")


def _entries(
    rows: list[_Row], labels: Mapping[str, int], videos: Path, replacements: Path | None, finder: Finder
) -> Iterator[Entry]:
    # folders of classes are called like them, but for underscores and punctuation
    folders = {label: finder.alike(videos, label) for label in labels}
    for row in rows:
        places = [place for place in (replacements, folders[row.label], videos) if place]
        path = finder.first(places, (f"{row.clip_id}.mp4", f"{row.youtube_id}.mp4"))
        expected = (folders[row.label] or videos) / f"{row.clip_id}.mp4"
        yield entry(path, expected, labels[row.label], row.clip_id)
