"""HMDB51 by its publisher's split files (Kuehne et al., ICCV 2011).

<class>_test_splitN.txt has a line `video.avi flag` for each video of the class: 1 training, 2 test, 0 neither.
Classes are numbered in alphabetical order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from petl_bench.data.files import read_lines
from petl_bench.data.finder import Finder
from petl_bench.data.labels import check_alike
from petl_bench.data.layout import Part
from petl_bench.data.listed import Entry, Listed, entry, numbered, split_files
from petl_bench.dataset_config import DatasetConfig, HMDB51Source
from petl_bench.errors import UserError

TRAIN, TEST, NEITHER = "1", "2", "0"


def parts(source: HMDB51Source) -> list[Part]:
    return [
        Part(
            "splits",
            source.splits,
            "lines `video.avi 1`; one file for each class",
            "/<class>_test_split1.txt",
        ),
        Part("videos", source.videos, "one folder for each class", "/brush_hair/video.avi"),
    ]


def read(
    config: DatasetConfig, source: HMDB51Source, found: Mapping[str, Path], root: Path, finder: Finder
) -> Listed:
    ending = f"_test_split{source.split}.txt"
    files = {file.name[: -len(ending)]: file for file in found["splits"].glob(f"*{ending}")}
    check_alike({name: str(file) for name, file in files.items()})
    labels = numbered(files, config.classes, f"{found['splits']}/*{ending}")
    entries: dict[str, list[Entry]] = {TRAIN: [], TEST: [], NEITHER: []}
    for name, label in labels.items():
        for line, text in read_lines(files[name]):
            video, _, flag = text.rpartition(" ")
            if not video or flag not in entries:
                raise UserError(f"{files[name]}, line {line}: expected `video.avi 0|1|2`, found {text!r}.")
            path = f"{name}/{video.strip()}"
            videos = found["videos"]
            entries[flag].append(entry(finder.find(videos, path), videos / path, label, path))
    return Listed(tuple(labels), split_files(entries[TRAIN]), split_files(entries[TEST]))
