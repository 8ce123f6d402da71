"""A prepared cache: the frames of a data set's clips, kept so that a few of them are read without the others.

A folder holds `prepared.json` (`CacheCard`), `index-<checksum>.npy` (a row for each clip, see `ROW`), shards
(shards.py), and what `petl-bench datasets prepare` needs to go on (prepare.py). Names in it are relative: it may be
moved and copied. The card names the index, which has a new name whenever it changes, so both fit at any moment.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from petl_bench.data.blame import DecodeError, machine_error_behind
from petl_bench.data.decode import Decoder, open_video
from petl_bench.data.frame_coding import FrameFormat, shrunk
from petl_bench.data.manifest import Clip, VideoData, known_as
from petl_bench.data.shards import Placed, PreparedVideo, ShardError
from petl_bench.dataset_config import DatasetConfig, data_home, data_root
from petl_bench.errors import UserError
from petl_bench.machine import MachineError, errors_of_machine
from petl_bench.records import Frozen, PreparedFrames

CARD = "prepared.json"
COLUMNS = (
    ("key", "<u8"), ("check", "<u8"),  # a hash of the clip's name
    ("start", "<f8"), ("stop", "<f8"),  # seconds; NaN for a whole file
    ("bytes", "<i8"), ("mtime_ns", "<i8"),  # of the video file
    ("shard", "<u4"), ("table", "<u8"), ("length", "<u4"), ("crc", "<u4"), ("frames", "<u4"), ("stored", "<u8"),
)  # fmt: skip
ROW = np.dtype(list(COLUMNS))


class CacheCard(Frozen):
    """What a cache holds."""

    version: Literal[1] = 1
    dataset: str
    format: FrameFormat
    decoders: list[str] = Field(description="names and versions of what the videos were decoded with")
    date: str = Field(description="ISO 8601, UTC")
    complete: bool = Field(description="whether every clip was tried")
    listed: int = Field(description="clips that have a file and are not skipped")
    clips: int
    failed: int
    bytes: int = Field(description="of the clips")
    shards: list[str]
    index: str


class PreparedCache:
    """The clips of a cache that are as their video files are now. Small and picklable; opens no file itself."""

    def __init__(self, folder: Path, card: CacheCard, rows: NDArray[Any], clips: Sequence[Clip]) -> None:
        """rows: of `clips`, one for each."""
        self.folder, self.format, self.shards = folder, card.format, tuple(card.shards)
        self.decoders = card.decoders
        self.sha256 = _content_hash(card.format, _keyed(rows, [clip.id for clip in clips]))
        self._rows = _keyed(rows, [clip.name for clip in clips])
        self._keys: NDArray[np.uint64] = np.ascontiguousarray(self._rows["key"])

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, clip: Clip) -> Placed | None:
        """Where the frames of a clip lie; None where it is not in the cache."""
        place = find_row(self._rows, self._keys, clip.name, clip)
        return None if place is None else placed(self._rows[place], self.shards)

    def open(self, clip: Clip) -> PreparedVideo | None:
        """The frames of a clip; None where it is not in the cache. Raises ShardError."""
        found = self.find(clip)
        return None if found is None else PreparedVideo(self.folder, found, self.format)

    def provenance(self, data: VideoData) -> PreparedFrames:
        splits = (data.train, data.validation, data.test)
        clips = {m.split: sum(self.find(clip) is not None for clip in m.clips) for m in splits}
        return PreparedFrames(
            format=self.format.text, decoders=self.decoders, clips=clips, sha256=self.sha256
        )


def _keyed(rows: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """The rows under other names, sorted by key."""
    rows = rows.copy()
    for row, name in zip(rows, names, strict=True):
        row["key"], row["check"] = clip_key(name)
    return np.sort(rows, order=("key", "check", "crc"))


def _content_hash(how: FrameFormat, rows: NDArray[Any]) -> str:
    """Of the format and the checksums of the clips: the same frames, wherever they lie."""
    content = np.stack([rows[name].astype(np.uint64) for name in ("key", "check", "crc")])
    return hashlib.sha256(how.text.encode() + content.tobytes()).hexdigest()


def open_prepared(data: VideoData) -> PreparedCache | None:
    """The prepared frames of a data set, if there are any and they are not switched off.

    Clips whose video has another size or date now are left to the decoder, and so are those for which it cannot be
    told whose frames these are: two files have their name, or an older version wrote an id that two have.

    Raises:
        UserError: a cache that cannot be read; one that `dataset.prepared` names and that is not there, or of which
            nothing can be used.
    """
    clips = [*data.train.clips, *data.validation.clips, *data.test.clips]
    folder = cache_folder(data.config)
    if folder is None:
        return None
    card = read_card(folder)
    rows = read_index(folder, card)
    keys = np.ascontiguousarray(rows["key"])
    states: dict[Path, tuple[int, int]] = {}
    fresh: dict[int, Clip] = {}
    refused = set()
    for clip in clips:
        names = known_as(clip, data.shared_ids)
        place = next((p for name in names if (p := find_row(rows, keys, name, clip)) is not None), None)
        if place is None:
            continue
        if clip.path not in states:
            states[clip.path] = file_state(clip.path)
        is_same = states[clip.path] == (rows[place]["bytes"], rows[place]["mtime_ns"])
        if not is_same or fresh.setdefault(place, clip).path != clip.path:
            refused.add(place)
    fresh = {place: clip for place, clip in fresh.items() if place not in refused}
    if not fresh and data.config.prepared:
        raise UserError(
            f"dataset.prepared is {data.config.prepared}, but no clip there has the name, size and date of its video "
            f"now. Copy videos with their dates (cp -p), or run `petl-bench datasets prepare {data.config.name}` again."
        )
    return PreparedCache(folder, card, rows[[*fresh]], [*fresh.values()]) if fresh else None


def prepared_text(data: VideoData, cache: PreparedCache | None) -> str:
    """How many clips of a data set come from its cache, "" where it has none."""
    folder = cache_folder(data.config)
    if folder is None:
        return ""
    clips = unique((*data.train.clips, *data.validation.clips, *data.test.clips))
    held = len(cache) if cache else 0
    unclear = _unclear(folder, clips, data.shared_ids)
    why = "" if held or unclear else "; the videos have other dates or sizes now"
    if unclear:
        why = (
            f"; an older version kept frames under {unclear:,} ids that two files have, they are not used: run "
            f"`petl-bench datasets prepare {data.config.name}` again"
        )
    return f"prepared frames of {held:,} of {len(clips):,} clips, from {folder}{why}"


def _unclear(folder: Path, clips: Iterable[Clip], shared: frozenset[str]) -> int:
    """How many rows are under an id that an older version wrote and that more than one file has."""
    if not shared:
        return 0
    rows = read_index(folder, read_card(folder))
    keys = np.ascontiguousarray(rows["key"])
    doubtful = {clip.id: clip for clip in clips if clip.id != clip.name and clip.id in shared}
    return sum(find_row(rows, keys, clip_id, clip) is not None for clip_id, clip in doubtful.items())


@contextmanager
def open_clip(clip: Clip, decoder: str, cache: PreparedCache | None) -> Iterator[Decoder]:
    """An open clip: its prepared frames where the cache holds them, else its video.

    Prepared bytes that are missing or wrong are noticed, and the clip is read from its video. Raises DecodeError and
    MachineError as `open_video` does.
    """
    short_side = None
    try:
        found = cache.open(clip) if cache else None
    except ShardError:
        found, short_side = None, cache.format.short_side if cache else None
    if found is None:
        with open_video(clip.path, decoder) as video:
            yield _Shrunk(video, short_side) if short_side else video
        return
    with closing(found):
        try:
            yield _OrVideo(found, clip, decoder, cache.format.short_side if cache else None)
        except (DecodeError, MachineError):
            raise
        except Exception as error:
            if fault := machine_error_behind(error, clip.path):
                raise fault from error
            raise DecodeError(f"{clip.path}: {' '.join(str(error).split())[:300]}") from error


class _Shrunk:
    """A video whose frames have the size that prepared ones have."""

    def __init__(self, video: Decoder, short_side: int | None) -> None:
        self._video, self._short_side = video, short_side
        self.name, self.frame_count = video.name, video.frame_count
        self.times, self.frame_range, self.close = video.times, video.frame_range, video.close

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        return np.stack([shrunk(frame, self._short_side) for frame in self._video.frames(indices)])


class _OrVideo:
    """Prepared frames, and those of the video where the prepared ones are broken."""

    name = PreparedVideo.name

    def __init__(self, prepared: PreparedVideo, clip: Clip, decoder: str, short_side: int | None) -> None:
        self._prepared, self._clip, self._decoder, self._short_side = prepared, clip, decoder, short_side

    @property
    def frame_count(self) -> int:
        return self._prepared.frame_count

    def times(self) -> NDArray[np.float64]:
        return self._prepared.times()

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return self._prepared.frame_range(start, stop)

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        try:
            return self._prepared.frames(indices)
        except ShardError:
            with open_video(self._clip.path, self._decoder) as video:
                first, _ = range_of(video, self._clip)
                return _Shrunk(video, self._short_side).frames([first + index for index in indices])

    def close(self) -> None:
        self._prepared.close()


def range_of(video: Decoder, clip: Clip) -> tuple[int, int]:
    """The frames of a clip in its file: (first, last + 1)."""
    if clip.start is None or clip.stop is None:
        return 0, video.frame_count
    return video.frame_range(clip.start, clip.stop)


def cache_places(config: DatasetConfig, root: Path) -> list[Path]:
    """Where the cache of a data set is by default, the best place first: in its folder, or where that is only
    read, in the data folder."""
    places = [root / "prepared" / config.name, data_home() / config.name / "prepared" / config.name]
    below = next((p for p in (places[0], *places[0].parents) if p.exists()), root)
    return places if os.access(below, os.W_OK) else places[::-1]


def cache_folder(config: DatasetConfig) -> Path | None:
    """The folder of the cache that is used; None where there is none. Raises UserError where one is named."""
    if config.prepared == "off":
        return None
    if config.prepared is not None:
        folder = Path(config.prepared).expanduser()
        if not (folder / CARD).exists():
            raise UserError(
                f"dataset.prepared is {config.prepared}, but there is no {folder / CARD}. `petl-bench datasets prepare "
                f"{config.name} --out {config.prepared}` makes it; `--set dataset.prepared=off` goes without."
            )
        return folder
    places = cache_places(config, data_root(config))
    return next((place for place in places if (place / CARD).exists()), None)


def read_card(folder: Path) -> CacheCard:
    """What a cache holds. Raises UserError for a card that cannot be read."""
    file = folder / CARD
    try:
        with errors_of_machine(file):
            data = file.read_bytes()
        return CacheCard.model_validate_json(data)
    except (OSError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise _broken(file, what) from None


def read_index(folder: Path, card: CacheCard) -> NDArray[Any]:
    """The rows of a cache, sorted by key; their dtype is `ROW`. Raises UserError where they are not those that
    were written."""
    file = folder / card.index
    try:
        with errors_of_machine(file):
            data = file.read_bytes()
        if file.name != index_name(data):
            raise ValueError("its checksum is wrong")
        rows: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
        if rows.dtype != ROW:
            raise ValueError("it has other columns")
    except (OSError, ValueError) as error:
        raise _broken(file, error) from None
    return rows


def _broken(file: Path, what: object) -> UserError:
    return UserError(
        f"{file} cannot be read: {what}. `petl-bench datasets prepare` writes it again from what is there; `--set "
        "dataset.prepared=off` goes without."
    )


def index_name(data: bytes) -> str:
    return f"index-{zlib.crc32(data):08x}.npy"


def index_bytes(rows: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.sort(rows, order=("key", "check")), allow_pickle=False)
    return out.getvalue()


def clip_key(name: str) -> tuple[int, int]:
    """A hash of a clip's name, 128 bits."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def find_row(rows: NDArray[Any], keys: NDArray[np.uint64], name: str, clip: Clip) -> int | None:
    """The place of a clip in rows sorted by `keys`, under a name; its span must be the same."""
    key, check = clip_key(name)
    place = int(np.searchsorted(keys, np.uint64(key)))
    while place < len(rows) and int(keys[place]) == key:
        row = rows[place]
        if int(row["check"]) == check and all(
            np.isnan(there) if here is None else there == here
            for here, there in ((clip.start, row["start"]), (clip.stop, row["stop"]))
        ):
            return place
        place += 1
    return None


def placed(row: Any, shards: Sequence[str]) -> Placed:
    return Placed(shards[row["shard"]], *(int(row[name]) for name in Placed._fields[1:]))


def file_state(path: Path) -> tuple[int, int]:
    """Size and date of a file, (bytes, nanoseconds); (-1, 0) where there is none. Raises MachineError."""
    try:
        with errors_of_machine(path):
            status = os.stat(path)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def coverage(config: DatasetConfig, clips: int | None) -> str:
    """The state of a data set's cache in a few words, "" where it has none. clips: that the data set lists."""
    try:
        folder = cache_folder(config)
        card = read_card(folder) if folder else None
    except UserError as error:
        return f"prepared frames not usable: {error}"
    if card is None:
        return ""
    partly = "" if card.complete else "partly "
    return f"{partly}prepared {card.date[:10]}, {card.clips:,} of {clips or card.listed:,} clips ({card.format.text})"


def unique(clips: Iterable[Clip]) -> list[Clip]:
    """Each clip once: one may be in both splits."""
    return list({(clip.name, clip.start, clip.stop): clip for clip in clips}.values())
