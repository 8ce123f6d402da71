"""Finding video files by the names that annotations give them.

Each folder is listed once: a look-up for every clip is slow on network file systems. Names that differ only in
how letters with accents are composed (macOS takes them apart), or in the ending (`.MP4`, a video that was
converted), are found too.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from petl_bench.machine import errors_of_machine

VIDEO_ENDINGS = frozenset(
    ".mp4 .webm .avi .mkv .mov .m4v .mpg .mpeg .flv .ts .mts .wmv .3gp .ogv".split()  # noqa: SIM905
)


def composed(text: str) -> str:
    """Text with each accent in one character with its letter (Unicode NFC)."""
    return unicodedata.normalize("NFC", text)


def is_video(name: str) -> bool:
    """Whether a file's ending is one of a video."""
    return os.path.splitext(name)[1].lower() in VIDEO_ENDINGS


def stem(name: str) -> str:
    """A name without the ending of a video; other dots belong to the name."""
    front, ending = os.path.splitext(name)
    return front if ending.lower() in VIDEO_ENDINGS else name


@dataclass(frozen=True)
class _Listing:
    names: dict[str, str]  # composed name -> name on disk
    stems: dict[str, str]  # composed name without ending -> video on disk


class Finder:
    """Finds files; remembers what folders hold."""

    def __init__(self) -> None:
        # keys are text: a quarter of a million look-ups are three times slower with paths
        self._listings: dict[str, _Listing | None] = {}
        self._likenesses: dict[Path, dict[str, str]] = {}

    def find(self, folder: Path, name: str) -> Path | None:
        """The file that `name` means in `folder`; it may begin with folders, or be absolute."""
        place, last = os.path.split(os.path.join(folder, name))
        parent = self._folder(os.path.normpath(place))
        listing = self._listing(parent) if parent else None
        if not parent or not listing:
            return None
        wanted = composed(last)
        actual = listing.names.get(wanted) or listing.stems.get(stem(wanted))
        return Path(parent, actual) if actual else None

    def first(self, folders: Iterable[Path], names: Sequence[str]) -> Path | None:
        """The first file that is there, looking for every name in one folder before going to the next."""
        for folder in folders:
            for name in names:
                if found := self.find(folder, name):
                    return found
        return None

    def alike(self, folder: Path, name: str) -> Path | None:
        """What has `name` in `folder` but for case, spaces, underscores and punctuation."""
        if folder not in self._likenesses:
            listing = self._listing(str(folder))
            self._likenesses[folder] = {_likeness(n): n for n in listing.names.values()} if listing else {}
        actual = self._likenesses[folder].get(_likeness(name))
        return folder / actual if actual else None

    def _folder(self, path: str) -> str | None:
        """A folder as it is called on disk."""
        if self._listing(path):
            return path
        above, last = os.path.split(path)
        if above == path or not (parent := self._folder(above)):
            return None
        listing = self._listing(parent)
        actual = listing.names.get(composed(last)) if listing else None
        here = os.path.join(parent, actual) if actual else ""
        return here if here and self._listing(here) else None

    def _listing(self, folder: str) -> _Listing | None:
        if folder not in self._listings:
            try:
                with errors_of_machine(folder):
                    on_disk = sorted(os.listdir(folder))
            except OSError:
                self._listings[folder] = None
                return None
            names = {composed(name): name for name in on_disk}
            # of two videos that differ in the ending alone, the first in the alphabet
            stems = {stem(key): name for key, name in reversed(names.items()) if is_video(name)}
            self._listings[folder] = _Listing(names, stems)
        return self._listings[folder]


def _likeness(name: str) -> str:
    return re.sub(r"[\W_]", "", composed(name).lower())


def relative_name(path: Path, root: Path) -> str:
    """A path below `root` with slashes, the same on every machine; another path as it is."""
    pure = PurePath(os.path.normpath(path))
    base = PurePath(os.path.normpath(root))
    return composed((pure.relative_to(base) if pure.is_relative_to(base) else pure).as_posix())


def place_name(path: Path, root: Path, folders: Mapping[str, Path]) -> str:
    """A name that no other file of a data set has, the same on every machine where that is possible.

    Args:
        path: of a file.
        root: the folder of the data set; a file below it is named by its path there.
        folders: of its videos, by the fields that say them; a file below one of them is named by field and path.
    """
    for prefix, folder in (("", root), *((f"{key}:", folder) for key, folder in folders.items())):
        name = relative_name(path, folder)
        if not os.path.isabs(name):
            return prefix + name
    return name
