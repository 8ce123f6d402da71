"""The clips of the splits of a data set, and the part of the training split that is held out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from petl_bench.dataset_config import DatasetConfig


@dataclass(frozen=True)
class Clip:
    """A labelled video file, or the part of one from `start` to before `stop`, seconds after its first frame.

    The id names it within its data set, on every machine.
    """

    path: Path
    label: int
    id: str
    start: float | None = None
    stop: float | None = None


@dataclass(frozen=True)
class Manifest:
    """The clips of a split, in a fixed order. `skipped` counts clips that are listed but have no file."""

    split: str
    clips: tuple[Clip, ...]
    skipped: int = 0

    @cached_property
    def sha256(self) -> str:
        """Hash of ids and labels in their order; the same wherever the files lie."""
        text = "".join(f"{clip.label}\t{clip.id}\n" for clip in self.clips)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class VideoData:
    """A data set that is there: its splits and classes.

    `pairs` are the classes (a, b) of which one is the other reversed in time; empty where there are none.
    """

    config: DatasetConfig
    class_names: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    train: Manifest
    validation: Manifest
    test: Manifest

    @cached_property
    def sha256(self) -> str:
        """Hash of the manifests of the three splits."""
        splits = (self.train, self.validation, self.test)
        text = "".join(f"{m.split} {m.sha256}\n" for m in splits)
        return hashlib.sha256(text.encode()).hexdigest()


def hold_out(train: Manifest, share: float) -> tuple[Manifest, Manifest]:
    """Split a part of each class off the training split, by a hash of the ids: the same for every seed.

    Args:
        share: part of each class, 0..1; at least one clip of every class that has two or more, never all.

    Returns:
        the training split that is left, and the validation split.
    """
    members: dict[int, list[Clip]] = defaultdict(list)
    for clip in train.clips:
        members[clip.label].append(clip)
    chosen: set[str] = set()
    for clips in members.values():
        count = min(max(round(share * len(clips)), 1), len(clips) - 1) if share > 0 else 0
        chosen |= {clip.id for clip in sorted(clips, key=_rank)[:count]}
    return (
        Manifest("train", _where(train.clips, chosen, False), train.skipped),
        Manifest("validation", _where(train.clips, chosen, True)),
    )


def _rank(clip: Clip) -> tuple[bytes, str]:
    return hashlib.sha256(f"validation {clip.id}".encode()).digest(), clip.id


def _where(clips: Iterable[Clip], ids: set[str], inside: bool) -> tuple[Clip, ...]:
    return tuple(clip for clip in clips if (clip.id in ids) == inside)
