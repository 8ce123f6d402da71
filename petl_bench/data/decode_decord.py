"""Frames of video files by index through decord."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEEK_COST = 4  # frames that decord decodes in the time of one seek, measured on 64-pixel H.264


@cache
def decord_fault() -> str:
    """Why decord cannot be imported; "" where it can. It is tried once in a process."""
    try:
        import_module("decord")
    except Exception as error:  # its libraries are loaded then, and may fail in any way
        lines = (line.strip() for line in str(error).splitlines())
        return next(filter(None, lines), type(error).__name__)[:200]
    return ""


class DecordDecoder:
    """A video through decord. Only for files with closed groups of pictures.

    `intra_only`: every frame is a key frame.
    """

    name = "decord"

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
