"""Small video files for tests: their frames carry their number as brightness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def numbered_frames(length: int, height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """(length, height, width, 3): a fixed texture on a ground of brightness 20 + 3 x number (mod 200)."""
    texture = np.random.default_rng(seed).integers(-8, 9, (height, width, 3))
    ground = 20 + (3 * np.arange(length)) % 200
    return np.clip(ground[:, None, None, None] + texture, 0, 255).astype(np.uint8)


def write_file(
    path: Path, frames: NDArray[np.uint8], codec: str = "libx264", turn: int = 0, **options: str
) -> Path:
    """Encode frames with PyAV; the container follows the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container_options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=12, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def all_frames(path: Path) -> NDArray[np.uint8]:
    """Every frame in the order of the screen: the plainest way there is to decode a file."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
