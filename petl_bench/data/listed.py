"""What the annotation files of a data set list, and which of it is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from petl_bench.data.manifest import Clip, shared_ids
from petl_bench.errors import UserError

Entry = tuple[Clip, bool]  # a clip and whether its file is there


@dataclass(frozen=True)
class SplitFiles:
    """The clips of a split that have a file, and those that have none (with where they were looked for)."""

    clips: tuple[Clip, ...]
    missing: tuple[Clip, ...] = ()

    @property
    def listed(self) -> int:
        """Clips that the annotation file names."""
        return len(self.clips) + len(self.missing)

    @property
    def all(self) -> tuple[Clip, ...]:
        """Those with a file, then those without."""
        return self.clips + self.missing


@dataclass(frozen=True)
class LeftOut:
    """Files, folders or rows that are no part of a data set, why, and one of them."""

    reason: str
    count: int
    example: str = ""
    kind: Literal["file", "folder", "row"] = "file"


@dataclass(frozen=True)
class Listed:
    """A data set as its publisher's files tell it.

    `head_names` holds the classes of each head where a label is several at once; `class_names` is empty then.
    `pairs` are the classes of which one is the other reversed in time.
    """

    class_names: tuple[str, ...]
    train: SplitFiles
    test: SplitFiles
    head_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[tuple[int, int], ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @cached_property
    def shared_ids(self) -> frozenset[str]:
        """The ids that fit more than one file."""
        return shared_ids((*self.train.all, *self.test.all))


def entry(found: Path | None, expected: Path, label: int, clip_id: str, file: str = "") -> Entry:
    """A clip by the file that was found for it, or by the one that was expected."""
    return Clip(found or expected, label, clip_id, file=file), found is not None


def split_files(entries: Iterable[Entry]) -> SplitFiles:
    """Entries in their order, those with a file apart from those without."""
    clips: list[Clip] = []
    missing: list[Clip] = []
    for clip, there in entries:
        (clips if there else missing).append(clip)
    return SplitFiles(tuple(clips), tuple(missing))


def numbered(names: Iterable[str], classes: int, where: object) -> dict[str, int]:
    """Classes by their names, numbered in alphabetical order; as many as the config says."""
    ordered = sorted(set(names))
    if len(ordered) != classes:
        few = ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")
        raise UserError(
            f"{where}: {len(ordered)} classes ({few}), but dataset.classes is {classes}. If the files are right: "
            f"`--set dataset.classes={len(ordered)}`."
        )
    return {name: number for number, name in enumerate(ordered)}
