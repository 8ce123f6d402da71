"""What a prepared cache is made of, clip by clip: appended to as clips are done, so that a kill loses none.

`clips.jsonl` is for `petl-bench datasets prepare` alone; training reads the card and the index that `publish` makes
of it. Its first line is the format of the frames. A torn last line is left out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import ValidationError

from petl_bench.data.frame_coding import FrameFormat
from petl_bench.data.manifest import Clip
from petl_bench.data.prepared import CARD, ROW, CacheCard, clip_key, file_state, index_bytes, index_name
from petl_bench.data.shards import SHARD, Placed
from petl_bench.errors import UserError
from petl_bench.provenance import now
from petl_bench.results import write_atomic

JOURNAL = "clips.jsonl"
FAILED = "failed.csv"
INDEX = re.compile(r"index-[0-9a-f]{8}\.npy")
Key = tuple[str, float | None, float | None]  # name, start, stop


def key_of(clip: Clip) -> Key:
    return clip.name, clip.start, clip.stop


@dataclass(frozen=True)
class Held:
    """A clip that the cache holds, made of a video file of this size and date."""

    bytes: int
    mtime_ns: int
    decoder: str
    placed: Placed


@dataclass(frozen=True)
class Failed:
    """Why a clip is not in the cache. state: broken, crashed or timeout."""

    state: str
    reason: str


def named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The files of a folder whose whole name fits a pattern."""
    return [file for file in folder.iterdir() if pattern.fullmatch(file.name)]


def check_folder(folder: Path) -> None:
    """Raises UserError for a place that holds something else: files there would be taken for the cache's own."""
    if not folder.exists():
        return
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    own = {CARD, JOURNAL, FAILED}
    foreign = [
        n for n in names if not (n in own or n.startswith(".") or INDEX.fullmatch(n) or SHARD.fullmatch(n))
    ]
    if not folder.is_dir() or (foreign and not {CARD, JOURNAL} & set(names)):
        found = f" (it holds {foreign[0]})" if foreign else ""
        raise UserError(f"{folder} is there and no prepared cache{found}. Name an empty or a new folder.")


class Journal:
    """The clips of a cache: held, or failed and why. Used under the lock of the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / JOURNAL
        self.format: FrameFormat | None = None
        self.held: dict[Key, Held] = {}
        self.failed: dict[Key, Failed] = {}
        self._out: IO[str] | None = None
        with suppress(FileNotFoundError):
            self._read(self.file.read_text(encoding="utf-8"))

    def _read(self, text: str) -> None:
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                row = json.loads(line)
                if number == 1:
                    self.format = FrameFormat.model_validate(row["format"])
                    continue
                key: Key = (row["id"], row["start"], row["stop"])
                if "state" in row:
                    self._set(key, Failed(row["state"], row["reason"]))
                else:
                    where = Placed(**row["placed"])
                    self._set(key, Held(row["bytes"], row["mtime_ns"], row["decoder"], where))
            except (ValueError, KeyError, TypeError, ValidationError) as error:
                if number == text.count("\n") + 1:  # torn by a kill
                    return
                raise UserError(
                    f"{self.file}, line {number}, cannot be read: {error}. `--again` prepares all clips again."
                ) from None

    def _set(self, key: Key, what: Held | Failed) -> None:
        self.held.pop(key, None)
        self.failed.pop(key, None)
        if isinstance(what, Held):
            self.held[key] = what
        else:
            self.failed[key] = what

    def adopt(self, clips: Iterable[Clip], shared: frozenset[str]) -> int:
        """Put entries that an older version wrote under ids under the names of their clips.

        Those whose id fits more than one file, or whose video is another one now, are given up.

        Args:
            clips: each once, those that have a file.
            shared: the ids that fit more than one file.

        Returns:
            how many were given up because of their id.
        """
        clips = list(clips)
        names, unclear = {key_of(clip) for clip in clips}, 0
        for clip in clips:
            former = (clip.id, clip.start, clip.stop)
            if former in names:
                continue
            self.failed.pop(former, None)
            held = self.held.pop(former, None)
            if held is None:
                continue
            if clip.id in shared:
                unclear += 1
            elif (held.bytes, held.mtime_ns) == file_state(clip.path):
                self.held.setdefault(key_of(clip), held)
        return unclear

    @classmethod
    def cleared(cls, folder: Path) -> Journal:
        """Of a folder whose frames are deleted now: first what names them, then they themselves."""
        for file in (folder / CARD, folder / JOURNAL, *named(folder, INDEX), *named(folder, SHARD)):
            file.unlink(missing_ok=True)
        return cls(folder)

    def begin(self, how: FrameFormat) -> None:
        """Write down what is known, whole, and be ready for more; delete shards that nothing is left of."""
        self.format = how
        lines = [json.dumps({"format": how.model_dump()})]
        lines += [_line(key, held) for key, held in self.held.items()]
        lines += [_line(key, failed) for key, failed in self.failed.items()]
        write_atomic(self.file, "\n".join(lines) + "\n")
        self._out = self.file.open("a", encoding="utf-8")
        used = {held.placed.shard for held in self.held.values()}
        for shard in named(self.folder, SHARD):
            if shard.name not in used:
                shard.unlink()

    def note(self, key: Key, what: Held | Failed) -> None:
        """Keep what became of a clip, from now on whatever happens to this process."""
        assert self._out is not None
        self._set(key, what)
        self._out.write(_line(key, what) + "\n")
        self._out.flush()

    def publish(self, dataset: str, listed: int, complete: bool) -> CacheCard:
        """Write the index and the card, which training reads, and `failed.csv`."""
        assert self.format is not None
        shards = sorted({held.placed.shard for held in self.held.values()})
        number = {name: i for i, name in enumerate(shards)}
        rows = np.zeros(len(self.held), ROW)
        for i, ((name, start, stop), h) in enumerate(self.held.items()):
            span = (np.nan if start is None else start, np.nan if stop is None else stop)
            rows[i] = (*clip_key(name), *span, h.bytes, h.mtime_ns, number[h.placed.shard], *h.placed[1:])
        data = index_bytes(rows)
        card = CacheCard(
            dataset=dataset,
            format=self.format,
            decoders=sorted({held.decoder for held in self.held.values()}),
            date=now(),
            complete=complete,
            listed=listed,
            clips=len(self.held),
            failed=len(self.failed),
            bytes=int(rows["stored"].sum()),
            shards=shards,
            index=index_name(data),
        )
        write_atomic(self.folder / card.index, data)
        write_atomic(self.folder / CARD, card.model_dump_json(indent=1) + "\n")
        for old in named(self.folder, INDEX):
            if old.name != card.index:
                old.unlink(missing_ok=True)
        self._write_failed()
        return card

    def _write_failed(self) -> None:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("id", "start", "stop", "state", "reason"))
        writer.writerows((*key, failed.state, failed.reason) for key, failed in self.failed.items())
        write_atomic(self.folder / FAILED, out.getvalue())

    def close(self) -> None:
        if self._out is not None:
            with suppress(OSError):
                self._out.close()
            self._out = None


def _line(key: Key, what: Held | Failed) -> str:
    row: dict[str, Any] = dict(zip(("id", "start", "stop"), key, strict=True))
    row |= asdict(what)
    if isinstance(what, Held):
        row["placed"] = what.placed._asdict()
    return json.dumps(row)
