"""Frames of video files by index, exactly, through decord, PyAV or torchcodec.

All decoders return the same frames: those that PyAV returns when it decodes the file from its first frame to
its last. decord and torchcodec are used where they are exact, see `_usable`; other files are read through PyAV
whatever decoder was asked for, and `Decoder.name` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from petl_bench.data.blame import DecodeError, machine_error_behind
from petl_bench.data.decode_decord import DecordDecoder, decord_fault
from petl_bench.data.decode_pyav import PyavDecoder
from petl_bench.data.decode_torchcodec import TorchcodecDecoder, check_torchcodec
from petl_bench.errors import UserError, unknown_name
from petl_bench.machine import MachineError

AUTO = "pyav"  # faster than decord on every kind of clip measured, see docs/decoding.md
PACKAGES = {"decord": "decord2", "pyav": "av", "torchcodec": "torchcodec"}  # decoder -> distribution
CHUNK = 32  # frames of decord or torchcodec in memory at once
MODULES = {"decord": "decord", "pyav": "av", "torchcodec": "torchcodec"}


class Decoder(Protocol):
    """An open video."""

    @property
    def name(self) -> str:
        """The decoder that reads this file, which may be another than the one asked for."""

    @property
    def frame_count(self) -> int:
        """Frames that the file holds."""

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """The frames at `indices` (any order, repeats allowed), RGB.

        Returns:
            (len(indices), height, width, 3), values 0..255.
        """

    def times(self) -> NDArray[np.float64]:
        """When each frame is shown, seconds after the first; at the mean rate in files that do not say."""

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        """The frames shown from `start` to before `stop`, seconds after the first frame: (first, last + 1).

        By the frames' own presentation times, so variable frame rates are right. A span between two frames
        holds the frame that is on the screen at `start`. Raises ValueError for a span after the last frame.
        """

    def close(self) -> None:
        """Free the file and the decoder."""


@contextmanager
def open_video(path: Path, decoder: str = "auto") -> Iterator[Decoder]:
    """An open video, closed at the end of the `with` block.

    Args:
        path: the file.
        decoder: "decord", "pyav", "torchcodec" or "auto".

    Raises:
        DecodeError: for whatever goes wrong inside the `with` block, by opening or decoding.
        MachineError: where the machine is at fault, not the file.
    """
    name = decoder_name(decoder)
    opened: list[Decoder] = []
    try:
        pyav = PyavDecoder(path)
        opened.append(pyav)
        if not pyav.frame_count:
            raise ValueError("no frames")
        if _usable(name, pyav):
            other = _OrPyav(name, path, pyav)
            if other.name != pyav.name:
                opened.append(other)
        yield opened[-1]
    except MachineError:
        raise
    except Exception as error:
        if fault := machine_error_behind(error, path):
            raise fault from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"{path}: {reason[:300]}") from error
    finally:
        for video in reversed(opened):
            video.close()


def _usable(name: str, video: PyavDecoder) -> bool:
    """Whether a decoder is exact on a file.

    Both go by the times of packets, so these must be proven. decord seeks to key frames, so groups of pictures must be
    closed: in open ones (much of HEVC) frames after a key frame in the file come before it on the screen. Both choose
    among streams, turn frames and convert some colours in other ways.
    """
    if name == PyavDecoder.name or not video.proven:
        return False
    return video.is_plain() and (name == "torchcodec" or video.closed_groups)


def frames_in_order(video: Decoder, path: Path, first: int, end: int) -> Iterator[NDArray[np.uint8]]:
    """The frames `first` to before `end` of an open video, one by one. What is checked and what is prepared is read
    through this, so both find the same damage: PyAV's, as the other decoders hand out frames with errors in them."""
    if video.name != PyavDecoder.name:
        with closing(PyavDecoder(path)) as pyav:
            for _ in pyav.decoded(range(first, end)):
                pass
    while first < end and video.name != PyavDecoder.name:
        chunk = video.frames(range(first, min(first + CHUNK, end)))
        yield from chunk
        first += len(chunk)
    if first < end and isinstance(video, PyavDecoder):
        yield from video.stream(first, end)
    elif first < end:  # the other decoder failed on the way
        with closing(PyavDecoder(path)) as pyav:
            yield from pyav.stream(first, end)


class _OrPyav:
    """decord or torchcodec, and PyAV for what they refuse (such as counts that differ). What is refused once is read
    through PyAV from then on."""

    def __init__(self, name: str, path: Path, pyav: PyavDecoder) -> None:
        self._pyav = pyav
        self._first: DecordDecoder | TorchcodecDecoder | None = None
        try:
            self._first = (
                DecordDecoder(path, pyav.intra_only) if name == "decord" else TorchcodecDecoder(path)
            )
            if self._first.frame_count != pyav.frame_count:
                self.close()
        except Exception:  # whether the file is readable is for PyAV to say
            self.close()

    @property
    def name(self) -> str:
        return self._first.name if self._first is not None else self._pyav.name

    @property
    def frame_count(self) -> int:
        return self._pyav.frame_count

    def times(self) -> NDArray[np.float64]:
        return self._pyav.times()

    def frame_range(self, start: float, stop: float) -> tuple[int, int]:
        return self._pyav.frame_range(start, stop)

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        if self._first is not None:
            try:
                return self._first.frames(indices)
            except Exception:
                self.close()
        return self._pyav.frames(indices)

    def close(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None


def decoder_name(name: str = "auto") -> str:
    """The decoder that `name` stands for: "decord", "pyav" or "torchcodec".

    Raises UserError for unknown names and for decoders that are not installed or do not load.
    """
    if name == "auto":
        return AUTO
    if name not in PACKAGES:
        raise unknown_name("decoder", name, ["auto", *PACKAGES])
    if not util.find_spec(MODULES[name]):
        raise UserError(f"decoder {name!r} is not installed: `pip install {PACKAGES[name]}`.")
    if name == "torchcodec":
        check_torchcodec()
    if name == "decord" and (fault := decord_fault()):
        raise UserError(
            f"decoder 'decord' is installed but does not load ({fault}). Mend it with `pip install "
            f"--force-reinstall {PACKAGES[name]}`, or take `--decoder pyav`, which gives the same frames."
        )
    return name


def decoder_version(name: str = "auto") -> str:
    """Name and version of a decoder, such as "decord 3.4.0" or "torchcodec 0.17.0, ffmpeg 7"."""
    name = decoder_name(name)
    system = f", ffmpeg {check_torchcodec()}" if name == "torchcodec" else ""
    for package in dict.fromkeys((PACKAGES[name], name)):
        try:
            return f"{name} {metadata.version(package)}{system}"
        except metadata.PackageNotFoundError:
            continue
    return f"{name}{system}"


def silence_decoders() -> None:
    """Keep FFmpeg from writing about broken files to stderr: they are counted and reported."""
    av.logging.set_level(av.logging.PANIC)
