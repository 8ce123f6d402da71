"""Files of prepared clips. A clip is its frames one after the other, then a table that tells where each begins.

A shard is written by one process, clip after clip, and never changed: what a killed process leaves at its end is
named by no index. Every frame has a checksum and so has the table, so bytes that are not those that were written
are an error, never other frames.
"""

from __future__ import annotations

import re
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from petl_bench.data.decode_pyav import span_of_frames
from petl_bench.data.frame_coding import FrameFormat, decode_frame, encode_frame
from petl_bench.machine import errors_of_machine

T = TypeVar("T")

SHARD_BYTES = 2**30  # a new one is begun after the clip that goes past it
HEADER = struct.Struct("<4sIII")  # magic, frames, height, width
MAGIC = b"PB01"
# of the table; offsets count from the clip's first byte, so that a table hangs on the frames alone
COLUMNS = (("offset", "<u8"), ("bytes", "<u4"), ("crc", "<u4"), ("time", "<f8"))
FRAME = np.dtype(list(COLUMNS))
NAME = "shard-{}.bin"
SHARD = re.compile(r"shard-[0-9a-f]{12}\.bin")


class ShardError(Exception):
    """Prepared frames that are not there, or not what was written."""


class WriteError(Exception):
    """A shard cannot be written."""


class Placed(NamedTuple):
    """Where a clip lies. `table` and `length` are of its table in the shard, bytes; `stored` is of all it takes."""

    shard: str
    table: int
    length: int
    crc: int
    frames: int
    stored: int


class ShardWriter:
    """Appends clips to shards of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[bytes] | None = None

    def write(
        self, frames: Iterable[NDArray[np.uint8]], times: NDArray[np.float64], how: FrameFormat
    ) -> Placed:
        """Append a clip; what was written of one that fails is taken back.

        Args:
            frames: (H, W, 3) each, RGB, all of one size.
            times: when each is shown, seconds after the first frame of the file.

        Raises:
            WriteError: the disk is full or the folder cannot be written.
            ValueError: the frames are fewer or more than their times, or of several sizes.
        """
        file = _or_write_error(self._open)
        begin = file.tell()
        try:
            rows = np.zeros(len(times), FRAME)
            rows["time"] = times
            size, count = (0, 0), 0
            for frame in frames:
                shape = frame.shape[:2]
                if count and shape != size:
                    raise ValueError(
                        f"frame {count} is {shape[1]} x {shape[0]}, the first {size[1]} x {size[0]}"
                    )
                if count == len(rows):
                    raise ValueError(f"more than {len(rows)} frames")
                data, size = encode_frame(frame, how), shape
                rows[count] = (file.tell() - begin, len(data), zlib.crc32(data), rows[count]["time"])
                _or_write_error(lambda data=data: file.write(data))  # type: ignore[misc]
                count += 1
            if not count or count < len(rows):
                raise ValueError(f"frame {count} of {len(rows)} cannot be decoded")
            table, place = HEADER.pack(MAGIC, count, *size) + rows.tobytes(), file.tell()
            _or_write_error(lambda: (file.write(table), file.flush()))
        except BaseException:
            self._take_back(begin)
            raise
        if file.tell() > SHARD_BYTES:
            self.close()
        stored = place + len(table) - begin
        return Placed(Path(file.name).name, place, len(table), zlib.crc32(table), count, stored)

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = (self.folder / NAME.format(secrets.token_hex(6))).open("xb")
        return self._file

    def _take_back(self, size: int) -> None:
        """Cut the shard to `size` bytes; if that fails, the next clip goes to another one."""
        if self._file is None:
            return
        try:
            self._file.seek(size)
            self._file.truncate()
        except OSError:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _or_write_error(action: Callable[[], T]) -> T:
    try:
        return action()
    except OSError as error:
        raise WriteError(error.strerror or str(error)) from None


class PreparedVideo:
    """A clip of a shard; a `Decoder`. Of a clip that is a span of a file, it holds the frames of the span alone.

    Raises:
        ShardError: here and in `frames`, for bytes that are missing or not those that were written.
        MachineError: for bytes that cannot be read.
    """

    name = "prepared"

    def __init__(self, folder: Path, placed: Placed, how: FrameFormat) -> None:
        self._path, self._how = folder / placed.shard, how
        self._begin = placed.table + placed.length - placed.stored
        try:
            with errors_of_machine(self._path):
                self._file = self._path.open("rb", buffering=0)
        except OSError as error:
            raise ShardError(f"{self._path}: {error.strerror}") from None
        try:
            data = self._read(placed.table, placed.length, placed.crc)
            magic, count, self._height, self._width = HEADER.unpack_from(data)
            if magic != MAGIC or len(data) != HEADER.size + count * FRAME.itemsize:
                raise ShardError(f"{self._path}: no clip at {placed.table}")
        except BaseException:
            self._file.close()
            raise
        self._rows = np.frombuffer(data, FRAME, offset=HEADER.size)

    def _read(self, place: int, length: int, crc: int) -> bytes:
        try:
            with errors_of_machine(self._path):
                self._file.seek(place)
                data = self._file.read(length)
        except OSError as error:
            raise ShardError(f"{self._path}: {error.strerror}") from None
        if zlib.crc32(data) != crc or len(data) != length:
            raise ShardError(f"{self._path}: the bytes at {place:,} are not those that were written")
        return data

    @property
    def frame_count(self) -> int:
        return len(self._rows)

    def times(self) -> NDArray[np.float64]:
        times: NDArray[np.float64] = self._rows["time"]
        return times

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return span_of_frames(self.times(), start, stop)

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        out = np.empty((len(indices), self._height, self._width, 3), np.uint8)
        for place, index in enumerate(indices):
            offset, length, crc, _ = self._rows[index].tolist()
            try:
                out[place] = decode_frame(
                    self._read(self._begin + offset, length, crc), self._height, self._width, self._how
                )
            except (OSError, ValueError) as error:
                raise ShardError(f"{self._path}: frame {index}: {error}") from None
        return out

    def check(self) -> None:
        """Read every byte. Raises ShardError."""
        for offset, length, crc, _ in self._rows.tolist():
            self._read(self._begin + offset, length, crc)

    def close(self) -> None:
        self._file.close()
