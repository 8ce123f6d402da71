"""Whether a video file is as long as it says, and its parts follow one another, by its container alone.

Headers are read and no data: some dozens of microseconds, a microsecond for each frame in Matroska. Containers that say
nothing of their length (MPEG-TS, MPEG-PS) are left to the decoder.

Sources: ISO/IEC 14496-12, 4.2 (MP4); RFC 9559 (Matroska); Microsoft's specifications of RIFF and ASF; SMPTE ST 377-1,
6.3 (MXF); RFC 3533 (Ogg).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import av

DURATIONS = ("flv", "mxf")
DURATION_SLACK = 1.0  # seconds
RIFF_SLACK = 64  # bytes: some programs count the header of 8 bytes in, or do not pad
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
SEGMENT, CLUSTER, EBML = 0x18538067, 0x1F43B675, 0x1A45DFA3
MATROSKA_PARTS = {
    # of a segment: SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,
    # of a cluster: Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock
    0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF,
    0xEC, 0xBF,  # of both: Void, CRC-32
}  # fmt: skip


def check_intact(path: Path, container: str) -> None:
    """Raises ValueError for a file that is cut off or whose parts do not follow one another.

    container: FFmpeg's name, such as "mov".
    """
    check = _CHECKS.get(container)
    if check is None:
        return
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            check(data)
        except (struct.error, IndexError):
            raise ValueError(f"cut off: it ends within a header, after {len(data):,} bytes") from None


def check_duration(path: Path, container: Any, stream: Any, packets: Sequence[Any]) -> None:
    """Raises ValueError where all streams of a file end well before the duration in its header, in containers that tell
    of their length in no other way."""
    if container.format.name not in DURATIONS or not container.duration:
        return
    duration = container.duration / av.time_base
    if _end(stream, packets) + DURATION_SLACK > duration:
        return
    with av.open(str(path)) as again:
        end = max((_end(p.stream, [p]) for p in again.demux()), default=0.0)
    if end + DURATION_SLACK <= duration:
        raise ValueError(f"cut off: {duration:.1f} s by its header, {end:.1f} s there")


def _end(stream: Any, packets: Sequence[Any]) -> float:
    """Seconds from the start of the file to the end of the last of some packets."""
    ticks = ((p.pts if p.pts is not None else p.dts or 0) + (p.duration or 0) for p in packets)
    return float(max(ticks, default=0) * stream.time_base)


def _within(data: mmap, end: int) -> None:
    if end > len(data):
        raise ValueError(f"cut off: {end:,} bytes by its headers, {len(data):,} bytes there")


def _broken(at: int) -> ValueError:
    return ValueError(f"damaged: what should follow is not there, at byte {at:,}")


def _mov(data: mmap) -> None:
    at, fragments = 0, False
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size == 0 and kind.isalnum():  # up to the end
            return
        if size < 8 or not kind.isascii() or not kind.strip(b" ").isalnum():
            if fragments:
                raise _broken(at)
            return  # something else at the end of a file is harmless
        fragments |= kind == b"moof"
        at += size
        _within(data, at)


def _matroska(data: mmap) -> None:
    at, end = 0, len(data)
    while at < end:
        kind, size, content = _element(data, at)
        if size is None and kind not in (SEGMENT, CLUSTER):
            raise _broken(at)
        if kind == SEGMENT:
            if size is not None:
                end = content + size
                _within(data, end)
            at = content
        elif kind == CLUSTER:
            at = content
        elif kind == EBML and at:  # another file follows
            return
        elif kind in MATROSKA_PARTS or kind == EBML:
            at = content + (size or 0)
            _within(data, at)
        else:
            raise _broken(at)


def _element(data: mmap, at: int) -> tuple[int, int | None, int]:
    """(id, size or None where it is not known, where the content begins)."""
    length = 9 - data[at].bit_length()
    if length > 4:
        raise _broken(at)
    kind, at = int.from_bytes(data[at : at + length], "big"), at + length
    length = 9 - data[at].bit_length()
    if length > 8:
        raise _broken(at)
    size, unknown = int.from_bytes(data[at : at + length], "big"), (1 << 7 * length) - 1
    size &= unknown
    return kind, None if size == unknown else size, at + length


def _avi(data: mmap) -> None:
    at, end = 0, 0
    while at < min(end or len(data), len(data)) - 8:
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"RIFF":
            if size in (0, 2**32 - 1):  # never filled in
                return
            end = at + 8 + size + size % 2
            if end > len(data) + RIFF_SLACK:
                _within(data, end)
            at += 12
        elif kind == b"LIST" and data[at + 8 : at + 12] in (b"movi", b"rec "):
            at += 12
        elif kind.isascii() and kind.decode().isprintable():
            at += 8 + size + size % 2
        elif data[at + 1 : at + 5].isalnum() or data[at - 1 : at + 3].isalnum():
            at += 1 if data[at + 1 : at + 5].isalnum() else -1  # not padded, or where it need not be
        else:
            raise _broken(at)
        if at >= end and data[at : at + 4] == b"RIFF":
            end = 0  # the next part of a long file


def _asf(data: mmap) -> None:
    if data[:16] != ASF_HEADER:
        return
    (header,) = struct.unpack_from("<Q", data, 16)
    at = data.find(ASF_PROPERTIES, 30, header)
    if at >= 0:
        (size,), (flags,) = struct.unpack_from("<Q", data, at + 40), struct.unpack_from("<I", data, at + 88)
        if not flags & 1:  # a broadcast does not know
            _within(data, size)


def _mpegts(data: mmap) -> None:
    if data[0] == data[188] == 0x47:
        starts = data[::188]
        if starts.count(0x47) < len(starts):
            raise _broken(188 * next(place for place, start in enumerate(starts) if start != 0x47))
        _within(data, 188 * len(starts))


def _mxf(data: mmap) -> None:
    at = 0
    while at < len(data):
        if data[at : at + 4] != b"\x06\x0e\x2b\x34":
            raise _broken(at)
        size, at = data[at + 16], at + 17
        if size & 128:
            count = size & 127
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        at += size
        _within(data, at)


def _ogg(data: mmap) -> None:
    at = 0
    following: dict[int, int] = {}  # stream -> its next page
    while at < len(data):
        magic, serial, page, segments = struct.unpack_from("<4s10xII4xB", data, at)
        if magic != b"OggS" or following.get(serial, page) != page:
            raise _broken(at)
        following[serial] = page + 1
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
        _within(data, at)


_CHECKS: dict[str, Callable[[mmap], None]] = {
    "mov": _mov, "matroska": _matroska, "avi": _avi, "asf": _asf, "mxf": _mxf, "ogg": _ogg, "mpegts": _mpegts
}  # fmt: skip
