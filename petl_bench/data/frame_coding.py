"""Single frames to bytes and back: how a prepared cache keeps them. Every frame stands alone."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from petl_bench.records import Frozen

QUALITY = 90  # 95 takes 1.4 times the bytes for 1 dB, measured: docs/prepare.md


class FrameFormat(Frozen):
    """How frames are kept."""

    kind: Literal["jpeg", "raw"] = Field("jpeg", description="raw: RGB, exact")
    quality: int | None = Field(QUALITY, ge=1, le=100, description="of JPEG; None for raw")
    short_side: int | None = Field(
        None, ge=16, description="larger frames are shrunk to it, pixels; None: as they are"
    )

    @property
    def text(self) -> str:
        """Such as "jpeg quality 90, short side 256"."""
        quality = f" quality {self.quality}" if self.kind == "jpeg" else ""
        return f"{self.kind}{quality}" + (f", short side {self.short_side}" if self.short_side else "")


def encode_frame(frame: NDArray[np.uint8], how: FrameFormat) -> bytes:
    """The bytes of a frame (H, W, 3), RGB."""
    if how.kind == "raw":
        return frame.tobytes()
    out = io.BytesIO()
    # 4:2:0, as nearly all video: colour at full resolution would cost half as many bytes again
    Image.fromarray(frame).save(out, "jpeg", quality=how.quality, subsampling=2)
    return out.getvalue()


def decode_frame(data: bytes, height: int, width: int, how: FrameFormat) -> NDArray[np.uint8]:
    """The frame (height, width, 3), RGB. Raises ValueError or OSError for bytes that are none of that size."""
    if how.kind == "raw":
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
    frame = decode_jpeg(data)
    if frame.shape != (height, width, 3):
        raise ValueError(f"a frame of {frame.shape}, not {(height, width, 3)}")
    return frame


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) of a JPEG in colour. Raises ValueError or OSError.

    By torchvision: the pixels of Pillow, sooner. By Pillow where torchvision was built without
    JPEG.
    """
    import torchvision

    if not hasattr(torch.ops.image, "decode_jpeg"):
        return np.asarray(Image.open(io.BytesIO(data), formats=("jpeg",)))
    try:
        frame = torchvision.io.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    except RuntimeError as error:
        raise ValueError(str(error).split("\n")[0]) from None
    return frame.permute(1, 2, 0).numpy()  # type: ignore[no-any-return]


def shrunk(frame: NDArray[np.uint8], short_side: int | None) -> NDArray[np.uint8]:
    """A frame (H, W, 3) with its short side at most `short_side` pixels, bicubic with antialiasing."""
    height, width = frame.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return np.ascontiguousarray(frame)
    scale = short_side / min(height, width)
    size = (max(round(width * scale), short_side), max(round(height * scale), short_side))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
