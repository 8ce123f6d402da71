"""Frames of video files by index through PyAV: exact for every file that FFmpeg decodes.

What the file holds is learnt from its packets, all of them, before anything is decoded: the other decoders rely
on it for the number of frames and for whether they may seek.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

CHROMA = "BICUBIC"  # how colours come to full resolution where no fast path does it (odd sizes): as in decord


class PyavDecoder:
    """A video through PyAV. The compressed file is held in memory; groups of pictures without a wanted frame
    are not decoded, where groups are closed, nor what in H.264 no other frame refers to.

    Attributes:
        container: FFmpeg's name of the container, such as "mov" or "matroska".
        timed: whether every frame says when it is shown, no two at the same time.
        closed_groups: whether all frames between two key frames of the file are between them on the screen too.
        intra_only: whether every frame is a key frame.
    """

    name = "pyav"

    def __init__(self, path: Path) -> None:
        self._container: Any = av.open(str(path))
        try:
            if self._container.format.name.endswith("_pipe"):
                raise ValueError("a still image, not a video")
            if not self._container.streams.video:
                raise ValueError("no video stream")
            self._stream: Any = self._container.streams.video[0]
            self._stream.codec_context.thread_count = 1
            self._packets: list[Any] = [p for p in self._container.demux(self._stream) if p.size]
        except BaseException:
            self._container.close()
            raise
        # What an edit list cuts off is needed to decode the rest, but is not shown: the decoder drops it.
        self._shown = [p for p in self._packets if not p.is_discard]
        self.container = str(self._container.format.name).split(",")[0]
        self.timed = len({p.pts for p in self._packets} - {None}) == len(self._packets)
        self.closed_groups = self.timed and _closed_groups(self._packets)
        self.intra_only = all(p.is_keyframe for p in self._packets)
        self._groups = [0] * len(self._packets)
        if self.closed_groups:
            self._groups = list(np.cumsum([bool(p.is_keyframe) for p in self._packets]))
        in_order = sorted(zip(self._packets, self._groups, strict=True), key=_time) if self.timed else []
        in_order = [(p, g) for p, g in in_order if not p.is_discard]
        self._number_of = {p.pts: i for i, (p, _) in enumerate(in_order)}
        self._group_of = [g for _, g in in_order] or [0] * len(self._shown)

    @property
    def frame_count(self) -> int:
        return len(self._shown)

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return span_of_frames(self.times(), start, stop)

    def times(self) -> NDArray[np.float64]:
        if any(p.pts is None for p in self._shown):
            return np.arange(len(self._shown)) / float(self._stream.average_rate or 25)
        pts = np.sort(np.array([p.pts for p in self._shown], dtype=np.int64))
        times: NDArray[np.float64] = (pts - pts[0]) * float(self._stream.time_base)
        return times

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        wanted = set(indices)
        reformatter = VideoReformatter()
        found: dict[int, NDArray[np.uint8]] = {}
        for number, frame in self._decoded(wanted, {self._group_of[i] for i in wanted}):
            if number in wanted:
                found[number] = _upright(reformatter, frame)
                if len(found) == len(wanted):
                    break
        missing = wanted - found.keys()
        if missing:
            raise ValueError(f"frame {min(missing)} of {self.frame_count} cannot be decoded")
        return np.stack([found[i] for i in indices])

    def stream(self, first: int, end: int) -> Iterator[NDArray[np.uint8]]:
        """The frames `first` to before `end`, each (height, width, 3), RGB, one at a time: whatever their number,
        few are in memory. Raises ValueError for the first one that cannot be decoded."""
        reformatter, expected, wanted = VideoReformatter(), first, range(first, end)
        for number, frame in self._decoded(wanted, {self._group_of[i] for i in wanted}):
            if number != expected:
                if first <= number < end:
                    break
                continue
            yield _upright(reformatter, frame)
            expected += 1
            if expected == end:
                return
        raise ValueError(f"frame {expected} of {self.frame_count} cannot be decoded")

    def _decoded(self, wanted: Container[int], groups: Container[int]) -> Iterator[tuple[int, Any]]:
        """(frame number, frame) of the given groups of pictures, in the order of the screen: those that are wanted,
        and others."""
        context = self._stream.codec_context
        context.flush_buffers()  # a former call may have stopped midway
        # there a packet is a frame; elsewhere it may be one of its two fields
        exact = self.closed_groups and self.container in {"mov", "matroska"}
        of_packet = [self._number_of.get(p.pts, -1) if self.closed_groups else -1 for p in self._packets]
        last: dict[int, int] = {}  # group -> the last of its packets that is needed
        for place, group in enumerate(self._groups):
            if group in groups and (of_packet[place] in wanted or not exact):
                last[group] = place
        # what no other frame refers to needs no decoding; FFmpeg tells so of H.264 alone in a way that is tested here
        may_skip = exact and context.codec.canonical_name == "h264"
        count = 0
        for place, (packet, group) in enumerate(zip(self._packets, self._groups, strict=True)):
            if place > last.get(group, -1):
                continue
            if may_skip:
                context.skip_frame = "DEFAULT" if of_packet[place] in wanted else "NONREF"
            batch = context.decode(packet)
            if place == last[group]:  # what the decoder holds back belongs to this group
                batch = [*batch, *context.decode(None)]
                context.flush_buffers()
            for frame in batch:
                yield self._number_of.get(frame.pts, -1) if self.closed_groups else count, frame
                count += 1

    def close(self) -> None:
        self._packets.clear()
        self._shown.clear()
        self._container.close()


def _upright(reformatter: VideoReformatter, frame: Any) -> NDArray[np.uint8]:
    """(height, width, 3), RGB, turned as the file's metadata say."""
    image: Any = reformatter.reformat(frame, format="rgb24", interpolation=CHROMA).to_ndarray()
    turned: NDArray[np.uint8] = np.rot90(image, frame.rotation // 90) if frame.rotation else image
    return turned


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


def _time(packet_and_group: tuple[Any, int]) -> int:
    return int(packet_and_group[0].pts)


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
