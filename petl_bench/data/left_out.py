"""What is left out of folders of videos: counted, with the reason, so that nobody misses it without a word."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from petl_bench.data.finder import is_video, relative_name
from petl_bench.data.listed import LeftOut

# folders of systems and programs that hold copies, thumbnails or what was deleted
SYSTEM = {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"}
# never videos, and there may be millions: not opened
PLAIN = frozenset(
    ".jpg .jpeg .png .bmp .gif .webp .tif .tiff .npy .npz .pt .pkl .txt .csv .tsv .json .xml .yaml .yml .md .srt .vtt "  # noqa: SIM905
    ".html .pdf .wav .mp3 .flac .aac .m4a .zip .tar .gz .py .log .ini .db .lnk".split()
)
PEEK = 400  # bytes
SIGNATURES: tuple[Callable[[bytes], bool], ...] = (
    lambda b: b[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"),  # MP4, MOV, 3GP
    lambda b: b[:4] == b"RIFF" and b[8:11] == b"AVI",
    lambda b: b[:4] == b"\x1aE\xdf\xa3",  # Matroska, WebM
    lambda b: b[:4] == b"FLV\x01",
    lambda b: b[:8] == b"0&\xb2u\x8ef\xcf\x11",  # ASF, WMV
    lambda b: b[:4] == b"OggS" and (b"theora" in b or b"VP80" in b),
    lambda b: b[:4] in (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),  # MPEG program and elementary streams
    lambda b: len(b) > 376 and b[0] == b[188] == b[376] == 0x47,  # MPEG transport stream
    lambda b: len(b) > 388 and b[4] == b[196] == b[388] == 0x47,  # the same with times (M2TS)
    lambda b: b[:4] == b"\x06\x0e+4",  # MXF
    lambda b: b[:4] == b"DKIF",  # IVF
    lambda b: b[:4] == b".RMF",
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to a system or program, not to the data."""
    return name.startswith(".") or name.lower() in SYSTEM


def is_video_content(file: Path) -> bool:
    """Whether a file begins as videos do, whatever its ending."""
    try:
        with file.open("rb") as content:
            beginning = content.read(PEEK)
    except OSError:
        return False
    return any(fits(beginning) for fits in SIGNATURES)


class Leaving:
    """Notes what is left out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._noted: dict[tuple[str, Literal["file", "folder"]], list[Path]] = {}

    def note_file(self, file: Path, why: str = "") -> None:
        """A file that is no clip: noted if it is a video, by its ending or its content.

        Args:
            why: it is not taken, where its name is not the reason.
        """
        ending = file.suffix.lower()
        if file.name.startswith("._"):
            if is_video(file.name):
                self._note("beginning with ._, which macOS writes beside copied files", file)
        elif is_video(file.name):
            self._note(why or "hidden: its name begins with a dot", file)
        elif ending not in PLAIN and file.is_file() and is_video_content(file):
            self._note(f"video content, but {f'the ending {ending}' if ending else 'no ending'}", file)

    def note_hidden(self, folder: Path) -> None:
        """A hidden folder, or one of a system: noted if it holds videos."""
        for parent, _, files in os.walk(folder):
            for name in files:
                if is_video(name):
                    self._note(f"in the hidden folder {folder.name}", Path(parent) / name)

    def note_empty(self, folder: Path) -> None:
        """A folder where a class would be, without a video."""
        self._note("no video in it", folder, "folder")

    def _note(self, why: str, path: Path, kind: Literal["file", "folder"] = "file") -> None:
        self._noted.setdefault((why, kind), []).append(path)

    def reasons(self) -> tuple[LeftOut, ...]:
        """What was noted, by reason."""
        return tuple(
            LeftOut(why, len(paths), relative_name(paths[0], self._root), kind)
            for (why, kind), paths in self._noted.items()
        )
