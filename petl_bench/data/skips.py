"""The skip list of a data set: clips that `petl-bench datasets check` could not decode. Training leaves them out.

It lies in the folder of the data set, or where that cannot be written, in <data home>/<name>/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from petl_bench.data.manifest import Clip, known_as
from petl_bench.dataset_config import DatasetConfig, Sampling, data_home
from petl_bench.errors import UserError
from petl_bench.machine import errors_of_machine
from petl_bench.records import Frozen
from petl_bench.results import write_atomic


class Checked(Frozen):
    """What a check decoded: the frames of this sampling and all others, with this decoder."""

    sampling: Sampling
    temporal_views: int
    decoder: str = Field(description="name and version")
    every_frame: bool = Field(False, description="older checks decoded the frames of the sampling alone")


class Skip(Frozen):
    """Why a clip is skipped, and the size of its file then: one of another size is not skipped."""

    state: Literal["broken", "crashed", "timeout"]
    reason: str
    bytes: int


class SkipList(Frozen):
    """The clips to leave out, by their names: a clip is the same in whatever official split it is."""

    version: Literal[2] = 2
    dataset: str
    date: str = Field(description="of the check: ISO 8601, UTC")
    complete: bool = Field(description="whether every clip was checked")
    checked: Checked
    clips: dict[str, Skip] = Field(description="name of the clip -> why")

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, data: Any) -> Any:
        # there the ids stood under "train" and "test"
        parts = data.get("clips") if isinstance(data, dict) and data.get("version") == 1 else None
        if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
            return data
        return {
            **data,
            "version": 2,
            "clips": {i: skip for part in parts.values() for i, skip in part.items()},
        }


def skip_file(config: DatasetConfig, root: Path) -> Path:
    """Where the skip list of a data set is, or would be written."""
    name = f"petl_bench_skip_{config.name}.json"
    places = [root / name, data_home() / config.name / name]
    if not os.access(root, os.W_OK):
        places.reverse()
    return next((place for place in places if place.exists()), places[0])


def read_skips(config: DatasetConfig, root: Path) -> SkipList | None:
    """The skip list; None where there is none. Raises UserError for one that cannot be read."""
    file = skip_file(config, root)
    try:
        with errors_of_machine(file):
            text = file.read_text(encoding="utf-8")
        return SkipList.model_validate(json.loads(text))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(
            f"{file} cannot be read: {what}. `petl-bench datasets check {config.name}` makes it again once it "
            "is deleted."
        ) from None


def write_skips(config: DatasetConfig, root: Path, skips: SkipList) -> Path:
    """Write the skip list where it belongs; returns the file."""
    file = skip_file(config, root)
    if file.exists() and not os.access(file.parent, os.W_OK):  # another's, in a folder that is only read
        file = data_home() / config.name / file.name
    write_atomic(file, skips.model_dump_json(indent=1) + "\n")
    return file


def without_skips(
    clips: Sequence[Clip], skips: SkipList | None, shared: frozenset[str] = frozenset()
) -> tuple[Clip, ...]:
    """The clips that are not on the skip list. A file that has another size now was fixed since.

    Args:
        shared: the ids that fit more than one file: what an older version wrote under one of them is not obeyed.
    """
    listed = skips.clips if skips else {}

    def is_skipped(clip: Clip) -> bool:
        skip = next((listed[name] for name in known_as(clip, shared) if name in listed), None)
        return skip is not None and skip.bytes == _size(clip)

    return tuple(clip for clip in clips if not is_skipped(clip))


def unclear_skips(clips: Iterable[Clip], skips: SkipList | None, shared: frozenset[str]) -> int:
    """How many entries of an older version are under an id that more than one file has."""
    ids = {clip.id for clip in clips if clip.id != clip.name and clip.id in shared}
    return len(ids & skips.clips.keys()) if skips else 0


def _size(clip: Clip) -> int:
    try:
        with errors_of_machine(clip.path):
            return clip.path.stat().st_size
    except OSError:
        return -1
