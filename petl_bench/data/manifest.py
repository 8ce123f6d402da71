"""The clips of the splits of a data set, and the part of the training split that is held out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from petl_bench.dataset_config import DatasetConfig


@dataclass(frozen=True)
class Clip:
    """A labelled video file, or the part of one from `start` to before `stop`, seconds after its first frame.

    id: names it within its split, on every machine; what is held out and the hash of a split go by it.
    file: the file's name within the data set, where the id is a path that a file of another split may have too.
    """

    path: Path
    label: int
    id: str
    start: float | None = None
    stop: float | None = None
    file: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """What prepared frames and skip lists know it by: two files never share a name."""
        return self.file or self.id


def shared_ids(clips: Iterable[Clip]) -> frozenset[str]:
    """The ids that fit more than one file. Older versions wrote ids where names are written now: such an entry may
    be of either file."""
    names = defaultdict(set)
    for clip in clips:
        names[clip.id].add(clip.name)
        names[clip.name].add(clip.name)
    return frozenset(known for known, files in names.items() if len(files) > 1)


def known_as(clip: Clip, shared: frozenset[str]) -> tuple[str, ...]:
    """What a clip may be called in a cache or skip list: its name, and its id where that fits no other file."""
    return (clip.name,) if clip.id == clip.name or clip.id in shared else (clip.name, clip.id)


@dataclass(frozen=True)
class Manifest:
    """The clips of a split, in a fixed order. `skipped` counts those that are listed but left out: no file, or
    on the skip list of `petl-bench datasets check`."""

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
    `head_names` holds the classes of each head where a label is several at once, a number in mixed radix in the
    order of the heads (verb x nouns + noun); `class_names` is empty then. `shared_ids` are those of all clips that
    are listed, with a file or without. `notice` is a line on what is amiss in the lists, "" where nothing is.
    """

    config: DatasetConfig
    class_names: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    train: Manifest
    validation: Manifest
    test: Manifest
    head_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shared_ids: frozenset[str] = frozenset()
    notice: str = ""

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
    chosen: set[str] = set()
    for ranked in _ranked(train.clips, "validation"):
        count = min(max(round(share * len(ranked)), 1), len(ranked) - 1) if share > 0 else 0
        chosen |= {clip.id for clip in ranked[:count]}
    return (
        Manifest("train", _where(train.clips, chosen, False)),
        Manifest("validation", _where(train.clips, chosen, True)),
    )


def take_fraction(train: Manifest, fraction: float) -> Manifest:
    """A share of each class of the training split, by a hash of the ids; what is in a smaller share is in
    every larger one.

    Args:
        fraction: part of each class, 0..1, rounded; at least one clip of every class that has any.
    """
    if fraction == 1:
        return train
    chosen: set[str] = set()
    for ranked in _ranked(train.clips, "fraction"):
        chosen |= {clip.id for clip in ranked[: max(round(fraction * len(ranked)), 1)]}
    return Manifest(train.split, _where(train.clips, chosen, True))


def _ranked(clips: Iterable[Clip], purpose: str) -> list[list[Clip]]:
    """The clips of each class in an order that a hash of their ids makes, another one for each purpose."""

    def rank(clip: Clip) -> tuple[bytes, str]:
        return hashlib.sha256(f"{purpose} {clip.id}".encode()).digest(), clip.id

    members: dict[int, dict[str, Clip]] = defaultdict(dict)
    for clip in clips:
        members[clip.label].setdefault(
            clip.id, clip
        )  # one that is listed twice goes to one part, and counts once
    return [sorted(of_class.values(), key=rank) for of_class in members.values()]


def _where(clips: Iterable[Clip], ids: set[str], inside: bool) -> tuple[Clip, ...]:
    return tuple(clip for clip in clips if (clip.id in ids) == inside)
