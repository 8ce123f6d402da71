"""Rendered frames to H.264 files in which every frame stands alone.

With only IDR frames, a constant quantiser and no adaptive decisions, a frame's bits depend on that frame
alone: the file of a reversed video decodes to exactly the reversed frames. So a method that is blind to
frame order gives a video and its reversal the same score to the last bit of its input.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

# A change here makes other pixels: it re-renders every clip, see rendered.py.
PRESET = "veryfast"
QP = 22
FRAME_RATE = 12  # of Something-Something-v2
ENCODING = f"h264 intra {PRESET} qp{QP} {FRAME_RATE}fps"
_OPTIONS = {
    "preset": PRESET,
    "qp": str(QP),
    "x264-params": "keyint=1:bframes=0:scenecut=0:aq-mode=0:mbtree=0:threads=1:sliced-threads=0",
}


def write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write an .mp4 so that the file is there in full or not at all. The same frames make the same bytes.

    Args:
        path: the file; its folder must exist.
        frames: (L, H, W, 3), RGB 0..255; H and W even.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FRAME_RATE, options=_OPTIONS)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
