"""Frames of video files by index through PyAV: exact for every file that FFmpeg decodes.

Frames are numbered in the order in which the decoder puts them out from the first to the last. Where the packets prove
that order (frame_order.py), only what is wanted is decoded. Other files are decoded from their start, and as a whole
when they are opened, to count their frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from petl_bench.data.display_matrix import display_matrix, upright
from petl_bench.data.frame_order import FrameOrder, proven_order
from petl_bench.data.intact import check_duration, check_intact
from petl_bench.data.video_stream import choose_stream

PROVABLE = ("mov", "matroska")  # containers in which a packet is a frame and has a time of its own
KEPT = 64 * 2**20  # bytes of decoded frames that are kept of a file that was decoded to count them
# Decoders that flag frames with errors. Others are told to fail; these would then fail for wrong messages (SEI) beside
# good pictures too.
FLAGGING = ("h264", "hevc")


class PyavDecoder:
    """A video through PyAV. The compressed file is held in memory. Where the order of frames is proven, groups of
    pictures without a wanted frame are not decoded, nor what in H.264 no other frame refers to.

    Damage is a ValueError: when the file is opened, if its container shows it or its frames have to be counted; else
    when something is asked for that it reaches.

    Attributes:
        container: FFmpeg's name of the container, such as "mov" or "matroska".
        proven: whether the packets prove the order of the frames, and their times with it.
        closed_groups: whether all frames between two key frames of the file are between them on the screen too.
        intra_only: whether every frame is a key frame.
    """

    name = "pyav"

    def __init__(self, path: Path) -> None:
        self._container: Any = av.open(str(path))
        self._packets: list[Any] = []
        self._kept: list[Any] = []
        try:
            if self._container.format.name.endswith("_pipe"):
                raise ValueError("a still image, not a video")
            self.container = str(self._container.format.name).split(",")[0]
            check_intact(path, self.container)
            self._stream, self._packets = choose_stream(self._container)
            check_duration(path, self._container, self._stream, self._packets)
            self._context: Any = self._stream.codec_context
            self._context.thread_count = 1
            if self._context.codec.canonical_name not in FLAGGING:
                self._context.options = {"err_detect": "explode"}
            for place, packet in enumerate(self._packets, start=1):
                if packet.is_corrupt:
                    raise ValueError(f"cut off or damaged at packet {place} of {len(self._packets)}")
            self._order: FrameOrder | None = None
            if self.container in PROVABLE:
                self._order = proven_order(self._stream, self._packets)
            self.proven = self._order is not None
            self._times = self._proven_times(self._order) if self._order else self._count()
        except BaseException:
            self.close()
            raise
        self.closed_groups = self.proven and _closed_groups(self._packets)
        self.intra_only = all(p.is_keyframe for p in self._packets)

    @property
    def frame_count(self) -> int:
        return len(self._times)

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return span_of_frames(self._times, start, stop)

    def times(self) -> NDArray[np.float64]:
        return self._times

    def is_plain(self) -> bool:
        """Whether all decoders show the same pixels: no other video stream, nothing to turn, whole frames of 8 bits."""
        frame = next(self.decoded([0]))
        return (
            len(self._container.streams.video) == 1
            and display_matrix(frame) is None
            and not frame.interlaced_frame
            and all(component.bits == 8 for component in frame.format.components)
        )

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        wanted, reformatter = sorted(set(indices)), VideoReformatter()
        decoded = zip(wanted, self.decoded(wanted), strict=True)
        found = {number: upright(reformatter, frame) for number, frame in decoded}
        return np.stack([found[i] for i in indices])

    def stream(self, first: int, end: int) -> Iterator[NDArray[np.uint8]]:
        """The frames `first` to before `end`, each (height, width, 3), RGB, one at a time: whatever their number,
        few are in memory. Raises ValueError for the first one that cannot be decoded."""
        reformatter = VideoReformatter()
        for frame in self.decoded(range(first, end)):
            yield upright(reformatter, frame)

    def decoded(self, wanted: Sequence[int]) -> Iterator[Any]:
        """PyAV's frames with these numbers, which ascend. Raises ValueError for damage on the way to one."""
        done = 0
        if self._order is not None:
            try:
                for frame in self._found(wanted, self._order):
                    yield frame
                    done += 1
                return
            except ValueError:
                # damage, or the packets promise what is not so: decoding everything shows which
                count, self._order = self.frame_count, None
                if (came := len(self._count())) != count:
                    raise ValueError(f"damaged: {count} frames by its packets, {came} come out") from None
        numbers = iter(wanted[done:])
        number = next(numbers, None)
        for place, frame in enumerate(self._kept or self._all()):
            if place == number:
                yield frame
                number = next(numbers, None)
                if number is None:
                    return
        if number is not None:
            raise ValueError(f"no frame {number}: the file has {self.frame_count}")

    def _found(self, wanted: Sequence[int], order: FrameOrder) -> Iterator[Any]:
        """The wanted frames, from as few packets as they need. Raises ValueError where others come out."""
        context = self._context
        context.flush_buffers()  # a former call may have stopped midway
        needed = set(wanted)
        following: dict[int, int] = {}  # group -> the least number that may come next
        highest: dict[int, int] = {}  # group -> its highest wanted number
        for number, group in zip(order.numbers, order.groups, strict=True):
            if number >= 0:
                following[group] = min(following.get(group, number), number)
            if number in needed:
                highest[group] = max(highest.get(group, number), number)
        last: dict[int, int] = {}  # group -> the last of its packets that is needed, as far as it is known
        for place, (number, group) in enumerate(zip(order.numbers, order.groups, strict=True)):
            if number in needed or (order.counted and group in highest):
                last[group] = place
        # what no other frame refers to needs no decoding; FFmpeg tells so of H.264 alone in a way that is tested here
        may_skip = context.codec.canonical_name == "h264"
        for place, (number, group) in enumerate(zip(order.numbers, order.groups, strict=True)):
            if place > last.get(group, -1):
                continue
            if may_skip:
                context.skip_frame = "DEFAULT" if number in needed else "NONREF"
            batch = self._decode(place)
            if place == last[group]:  # what the decoder holds back belongs to this group
                batch = [*batch, *self._decode(None)]
                context.flush_buffers()
            for frame in batch:
                if following[group] > highest[group]:
                    break
                came = self._number_of.get(frame.pts, -1)
                if came < following[group] or (order.counted and came > following[group]):
                    raise ValueError(f"frame {came} came instead of {following[group]}")
                following[group] = came + 1
                if came in needed:
                    needed.remove(came)
                    yield frame
            if (
                following[group] > highest[group]
            ):  # and came out by itself: nothing can come before it any more
                last[group] = -1
                context.flush_buffers()
        if needed:
            raise ValueError(f"frame {min(needed)} did not come")

    def _all(self) -> Iterator[Any]:
        """Every frame of the file, in the order of the decoder."""
        self._context.flush_buffers()
        self._context.skip_frame = "DEFAULT"
        for place in [*range(len(self._packets)), None]:
            yield from self._decode(place)

    def _decode(self, place: int | None) -> list[Any]:
        """The frames that come out when a packet goes in, or those held back for None. Raises ValueError for damage."""
        where = f"packet {place + 1} of {len(self._packets)}" if place is not None else "the last packets"
        try:
            frames: list[Any] = self._context.decode(None if place is None else self._packets[place])
        except (
            av.error.FFmpegError
        ) as error:  # no file is read here: whatever its class, the data are at fault
            if isinstance(error, MemoryError):
                raise
            raise ValueError(f"damaged: {where} cannot be decoded ({_reason(error)})") from error
        if any(frame.is_corrupt for frame in frames):
            raise ValueError(f"damaged: errors in a frame at {where}")
        return frames

    def _count(self) -> NDArray[np.float64]:
        """Decode every frame; the times of all. What takes little memory is kept."""
        times, size, self._kept = [], 0, []
        for frame in self._all():
            times.append(frame.pts)
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= KEPT:
                self._kept.append(frame)
        if size > KEPT:
            self._kept = []
        if not times:
            raise ValueError(f"damaged: none of {len(self._packets)} packets gives a frame")
        if None in times or times != sorted(set(times)):  # made up from times of decoding, or none at all
            return np.divide(np.arange(len(times)), float(self._stream.average_rate or 25), dtype=np.float64)
        return _seconds(times, self._stream)

    def _proven_times(self, order: FrameOrder) -> NDArray[np.float64]:
        shown = [(p.pts, n) for p, n in zip(self._packets, order.numbers, strict=True) if n >= 0]
        self._number_of = dict(shown)
        return _seconds(sorted(self._number_of), self._stream)

    def close(self) -> None:
        self._packets = []
        self._kept = []
        self._container.close()


def _seconds(ticks: Sequence[int], stream: Any) -> NDArray[np.float64]:
    """Since the first of ascending times in ticks of a stream."""
    since = np.array(ticks, dtype=np.int64)
    return np.multiply(since - since[:1], float(stream.time_base), dtype=np.float64)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def span_of_frames(times: NDArray[np.float64], start: float, stop: float) -> tuple[int, int]:
    """The part (first, last + 1) of ascending `times` in [start, stop); see `Decoder.frame_range`."""
    slack = 1e-6  # seconds; times in files are whole multiples of a tick, times in lists are rounded
    # what is shown at its last frame's time is shown for about as long as the frame before it
    period = float(times[-1] - times[-2]) if len(times) > 1 else np.inf
    if start > times[-1] + period:
        raise ValueError(f"the span {start:g}..{stop:g} s begins after the last frame, at {times[-1]:g} s")
    first = int(np.searchsorted(times, start - slack))
    end = int(np.searchsorted(times, stop - slack))
    if end <= first:
        first = max(int(np.searchsorted(times, start + slack, side="right")) - 1, 0)
        end = first + 1
    return first, end


def _closed_groups(packets: Sequence[Any]) -> bool:
    """Whether each group of pictures begins with its key frame on the screen too, after all of the group before."""
    latest = key = None
    for packet in packets:
        if packet.is_keyframe:
            if latest is not None and packet.pts <= latest:
                return False
            key = packet.pts
        elif key is None or packet.pts <= key:
            return False
        latest = packet.pts if latest is None else max(latest, packet.pts)
    return True
