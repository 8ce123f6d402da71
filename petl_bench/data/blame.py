"""Whose fault it is that a file cannot be decoded: the file's, or the machine's that reads it."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import av
import numpy as np

from petl_bench.machine import MachineError, as_machine_error, errors_of_machine, is_of_machine

T = TypeVar("T")

# FFmpeg gives these numbers for what a file holds, too
AMBIGUOUS = frozenset(
    {
        errno.EIO,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EPERM,
        errno.EINTR,
        errno.EBUSY,
        errno.EPROTO,
        errno.ENOSPC,
        errno.ENODEV,
        errno.ENXIO,
    }
)
CHUNK = 2**20
ENOUGH = 2**30  # bytes: where they can be had, it was the file that asked for too many


class DecodeError(Exception):
    """A file that cannot be decoded: broken, truncated, empty, missing or no video. Names the file."""


def machine_error_behind(error: BaseException, path: Path) -> MachineError | None:
    """The error of the machine that made decoding a file fail; None where the file itself is at fault.

    FFmpeg's word is not enough: it takes a read that fails for the end of the file, and calls broken content an
    input/output error. So the file is read to its end, which costs nothing for files that are whole.
    """
    for cause in _causes(error):
        of_ffmpeg = isinstance(cause, av.FFmpegError)
        number = getattr(cause, "errno", None)
        if is_of_machine(cause) and not (of_ffmpeg and number in AMBIGUOUS):
            return as_machine_error(cause, path)
        if of_ffmpeg and number == errno.ENOMEM and not _memory_left():
            return as_machine_error(cause, path)
    try:
        with errors_of_machine(path):
            _read_through(path)
    except MachineError as found:
        return found
    except OSError:  # such as a file that is not there
        pass
    return None


def decoded(action: Callable[[], T]) -> T:
    """What `action` returns, tried again where a file cannot be decoded: a read may have failed for a moment."""
    try:
        return action()
    except DecodeError:
        return action()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error that is raised again may be its own context
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _read_through(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        return
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass


def _memory_left() -> bool:
    try:
        np.empty(ENOUGH, np.uint8)
    except MemoryError:
        return False
    return True
