"""Frames of video files by index through torchcodec, which brings no FFmpeg and uses the system's.

torchcodec and decord do not go together in one process: after decord has decoded an AV1 file, torchcodec
crashes on the next one (torchcodec 0.17, decord2 3.4). A run uses one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petl_bench.errors import UserError


class TorchcodecDecoder:
    """A video through torchcodec, which scans the file for its frames first and seeks by their times."""

    name = "torchcodec"

    def __init__(self, path: Path) -> None:
        decoders = import_module("torchcodec.decoders")
        self._decoder: Any = decoders.VideoDecoder(
            str(path), dimension_order="NHWC", num_ffmpeg_threads=1, device="cpu", seek_mode="exact"
        )

    @property
    def frame_count(self) -> int:
        return len(self._decoder)

    def frames(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        batch: NDArray[np.uint8] = self._decoder.get_frames_at(list(indices)).data.numpy()
        return batch

    def close(self) -> None:
        self._decoder = None


def check_torchcodec() -> str:
    """The major version of the FFmpeg that torchcodec found. Raises UserError where it finds none that it can use."""
    try:
        return str(import_module("torchcodec").ffmpeg_major_version)
    except (ImportError, OSError, RuntimeError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise UserError(
            f"decoder 'torchcodec' is installed but does not load ({reason[:200]}). It needs FFmpeg's shared "
            "libraries (`apt install ffmpeg`, `conda install ffmpeg`) and the torch that it was built for; "
            "`--decoder pyav` needs neither."
        ) from error
