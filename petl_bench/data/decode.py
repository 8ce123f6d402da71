"""Frames of video files by index, exactly, through PyAV or decord.

Both decoders return the same frames and pixels. decord seeks to key frames, which is wrong for streams whose
groups of pictures are open (frames after a key frame in the file, before it on the screen: much of HEVC,
MPEG-4 with B-frames) and in containers without an index (MPEG-TS): such files are read through PyAV whatever
decoder was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from petl_bench.errors import UserError, unknown_name

AUTO = ("decord", "pyav")  # the order in which "auto" looks for an installed decoder
PACKAGES = {"decord": "decord2", "pyav": "av"}  # decoder -> distribution
MODULES = {"decord": "decord", "pyav": "av"}
INDEXED = {"mov", "matroska", "avi"}  # containers that decord can seek in; in others it lands anywhere
SEEK_COST = 4  # frames that decord decodes in the time of one seek, measured on 64-pixel H.264


class DecodeError(Exception):
    """A file that cannot be decoded: broken, truncated, empty, missing or no video. Names the file."""


class Decoder(Protocol):
    """An open video."""

    @property
    def frame_count(self) -> int:
        """Frames that the file holds."""

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """The frames at `indices` (any order, repeats allowed), RGB.

        Returns:
            (len(indices), height, width, 3), values 0..255.
        """

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        """The frames shown from `start` to before `stop`, seconds after the first frame: (first, last + 1).

        By the frames' own presentation times, so variable frame rates are right. A span between two frames
        holds the frame that is on the screen at `start`. Raises ValueError for a span after the last frame.
        """

    def close(self) -> None:
        """Free the file and the decoder."""


class PyavDecoder:
    """A video through PyAV. The compressed file is held in memory; groups of pictures without a wanted frame
    are not decoded, where groups are closed."""

    def __init__(self, path: Path) -> None:
        self._container: Any = av.open(str(path))
        try:
            if self._container.format.name.endswith("_pipe"):
                raise ValueError("a still image, not a video")
            if not self._container.streams.video:
                raise ValueError("no video stream")
            self._stream: Any = self._container.streams.video[0]
            self._stream.codec_context.thread_count = 1
            packets = self._container.demux(self._stream)
            self._packets: list[Any] = [p for p in packets if p.size and not p.is_discard]
        except BaseException:
            self._container.close()
            raise
        self.closed_groups = _closed_groups(self._packets)
        self.seekable = self.closed_groups and self._container.format.name.split(",")[0] in INDEXED
        self.intra_only = all(p.is_keyframe for p in self._packets)
        self._groups = [0] * len(self._packets)
        if self.closed_groups:  # a group is as long on the screen as in the file, so both share these numbers
            self._groups = list(np.cumsum([bool(p.is_keyframe) for p in self._packets]))

    @property
    def frame_count(self) -> int:
        return len(self._packets)

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return span_of_frames(self._times(), start, stop)

    def _times(self) -> NDArray[np.float64]:
        """When each frame is shown, seconds after the first; at the mean rate in files that do not say."""
        if any(p.pts is None for p in self._packets):
            return np.arange(len(self._packets)) / float(self._stream.average_rate or 25)
        pts = np.sort(np.array([p.pts for p in self._packets], dtype=np.int64))
        times: NDArray[np.float64] = (pts - pts[0]) * float(self._stream.time_base)
        return times

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        wanted = set(indices)
        reformatter = VideoReformatter()
        found: dict[int, NDArray[np.uint8]] = {}
        for number, frame in self._decoded({self._groups[i] for i in wanted}):
            if number in wanted:
                image: Any = reformatter.reformat(frame, format="rgb24").to_ndarray()
                found[number] = np.rot90(image, frame.rotation // 90) if frame.rotation else image
                if len(found) == len(wanted):
                    break
        missing = wanted - found.keys()
        if missing:
            raise ValueError(f"frame {min(missing)} of {self.frame_count} cannot be decoded")
        return np.stack([found[i] for i in indices])

    def _decoded(self, groups: set[int]) -> Iterator[tuple[int, Any]]:
        """(frame number, frame) of the given groups of pictures, in the order of the screen."""
        context = self._stream.codec_context
        context.flush_buffers()  # a former call may have stopped midway
        number_of = (
            {p.pts: i for i, p in enumerate(sorted(self._packets, key=_pts))} if self.closed_groups else {}
        )
        count = 0
        previous = None
        for packet, group in [*zip(self._packets, self._groups, strict=True), (None, None)]:
            if group != previous and previous in groups:  # what the decoder holds back belongs to this group
                batch = context.decode(None)
                context.flush_buffers()
            else:
                batch = []
            previous = group
            if packet is not None and group in groups:
                batch = [*batch, *context.decode(packet)]
            for frame in batch:
                yield number_of.get(frame.pts, -1) if self.closed_groups else count, frame
                count += 1

    def close(self) -> None:
        self._packets.clear()
        self._container.close()


class DecordDecoder:
    """A video through decord. Only for files with closed groups of pictures."""

    def __init__(self, path: Path, intra_only: bool) -> None:
        decord = import_module("decord")
        decord.logging.set_level(decord.logging.QUIET)
        # fault_tol: without it decord returns copies of other frames for those that it cannot decode
        self._reader: Any = decord.VideoReader(str(path), num_threads=1, fault_tol=1e-9)
        self._intra_only = intra_only

    @property
    def frame_count(self) -> int:
        return len(self._reader)

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        first, last = min(indices), max(indices)
        if self._intra_only and last - first < SEEK_COST * len(set(indices)):
            frames: NDArray[np.uint8] = self._reader.get_batch(range(first, last + 1)).asnumpy()
            return frames[np.asarray(indices) - first]
        batch: NDArray[np.uint8] = self._reader.get_batch(list(indices)).asnumpy()
        return batch

    def close(self) -> None:
        self._reader = None


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


def _pts(packet: Any) -> int:
    return int(packet.pts)


def _closed_groups(packets: Sequence[Any]) -> bool:
    """Whether all frames between two key frames of the file are between them on the screen too."""
    latest = key = None
    for packet in packets:
        if packet.pts is None:
            return False
        if packet.is_keyframe:
            if latest is not None and packet.pts <= latest:
                return False
            key = packet.pts
        elif key is None or packet.pts <= key:
            return False
        latest = packet.pts if latest is None else max(latest, packet.pts)
    return len({p.pts for p in packets}) == len(packets)


@contextmanager
def open_video(path: Path, decoder: str = "auto") -> Iterator[Decoder]:
    """An open video, closed at the end of the `with` block.

    Args:
        path: the file.
        decoder: "decord", "pyav" or "auto".

    Raises:
        DecodeError: for whatever goes wrong inside the `with` block, by opening or decoding.
    """
    name = decoder_name(decoder)
    opened: list[Decoder] = []
    try:
        pyav = PyavDecoder(path)
        opened.append(pyav)
        if not pyav.frame_count:
            raise ValueError("no frames")
        if name == "decord" and pyav.seekable:
            opened.append(_DecordOrPyav(path, pyav))
        yield opened[-1]
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"{path}: {reason[:300]}") from error
    finally:
        for video in reversed(opened):
            video.close()


class _DecordOrPyav:
    """decord, and PyAV for what decord refuses (videos turned by their metadata, counts that differ)."""

    def __init__(self, path: Path, pyav: PyavDecoder) -> None:
        self._pyav = pyav
        self._decord: DecordDecoder | None = None
        try:
            self._decord = DecordDecoder(path, pyav.intra_only)
        except Exception:  # whether the file is readable is for PyAV to say
            self._decord = None

    @property
    def frame_count(self) -> int:
        return self._pyav.frame_count

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return self._pyav.frame_range(start, stop)

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        if self._decord is not None and self._decord.frame_count == self.frame_count:
            try:
                return self._decord.frames(indices)
            except Exception:
                self._decord = None
        return self._pyav.frames(indices)

    def close(self) -> None:
        if self._decord is not None:
            self._decord.close()


def decoder_name(name: str = "auto") -> str:
    """The decoder that `name` stands for: "decord" or "pyav". Raises UserError for unknown or absent ones."""
    if name == "auto":
        return next(decoder for decoder in AUTO if util.find_spec(MODULES[decoder]))
    if name not in PACKAGES:
        raise unknown_name("decoder", name, ["auto", *PACKAGES])
    if not util.find_spec(MODULES[name]):
        raise UserError(f"decoder {name!r} is not installed: `pip install {PACKAGES[name]}`.")
    return name


def decoder_version(name: str = "auto") -> str:
    """Name and version of a decoder, such as "decord 3.4.0"."""
    name = decoder_name(name)
    for package in dict.fromkeys((PACKAGES[name], name)):
        try:
            return f"{name} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return name


def silence_decoders() -> None:
    """Keep FFmpeg from writing about broken files to stderr: they are counted and reported."""
    av.logging.set_level(av.logging.PANIC)
