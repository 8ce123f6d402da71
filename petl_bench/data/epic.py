"""EPIC-Kitchens-100 by its publisher's CSVs: actions are spans of long videos, with a verb and a noun.

Damen et al., IJCV 2022; github.com/epic-kitchens/epic-kitchens-100-annotations. A clip is the frames shown from
start_timestamp to before stop_timestamp; a file <narration_id>.mp4, cut before, is taken where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from petl_bench.data.files import read_csv, whole
from petl_bench.data.finder import Finder
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, split_files
from petl_bench.data.manifest import Clip
from petl_bench.dataset_config import DatasetConfig, EpicSource
from petl_bench.errors import UserError

TIMES = ("start_timestamp", "stop_timestamp")
COLUMNS = ("narration_id", "participant_id", "video_id", *TIMES)
HEADS = {"verb": "verbs", "noun": "nouns"}  # head -> key of its file of classes


def parts(source: EpicSource) -> list[Part]:
    header = ",".join((*COLUMNS, "verb_class", "noun_class"))
    return [
        Part("train", source.train, header),
        Part("test", source.test, "the same"),
        Part("verbs", source.verbs, "id,key,instances,category"),
        Part("nouns", source.nouns, "the same"),
        Part(
            "videos",
            source.videos,
            "long videos; in clips/: P01_01_0.mp4, one file per action",
            "/P01/videos/P01_01.MP4",
        ),
    ]


def read(
    config: DatasetConfig, source: EpicSource, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    heads = config.heads
    if not heads or not heads.keys() <= HEADS.keys():
        raise UserError(f"dataset.heads is {heads}; EPIC-Kitchens has the heads verb and noun.")
    names = {head: _names(found[HEADS[head]], classes) for head, classes in heads.items()}
    train, test = (
        split_files(_entries(found[key], heads, found["videos"], finder)) for key in ("train", "test")
    )
    return Listed((), train, test, head_names=names)


def _names(file: Path, classes: int) -> tuple[str, ...]:
    names = {}
    for line, row in read_csv(file, ("id", "key")):
        names[whole(row["id"], file, f"line {line}", "id", classes)] = row["key"]
    if len(names) != classes:
        raise UserError(f"{file}: {len(names)} classes, but dataset.heads says {classes}.")
    return tuple(names[number] for number in range(classes))


def _entries(file: Path, heads: Mapping[str, int], videos: Path, finder: Finder) -> Iterator[Entry]:
    for line, row in read_csv(file, (*COLUMNS, *(f"{head}_class" for head in heads))):
        label = 0  # a pair is one number: verb x nouns + noun
        for head, classes in heads.items():
            column = f"{head}_class"
            label = label * classes + whole(row[column], file, f"line {line}", column, classes)
        participant, video, clip_id = row["participant_id"], row["video_id"], row["narration_id"]
        start, stop = (_seconds(row[name], file, line) for name in TIMES)
        folders = (videos, videos / participant, videos / participant / "videos")
        cut = finder.first((*folders, videos / video, videos / participant / video), (f"{clip_id}.mp4",))
        if cut:
            yield Clip(cut, label, clip_id), True
            continue
        long = finder.first(folders, (f"{video}.MP4",))
        expected = videos / participant / "videos" / f"{video}.MP4"
        yield Clip(long or expected, label, clip_id, start, stop), long is not None


def _seconds(text: str, file: Path, line: int) -> float:
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        raise UserError(
            f"{file}, line {line}: expected a time such as 00:01:02.35, found {text!r}."
        ) from None
