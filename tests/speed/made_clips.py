"""Videos like those of the real sets, made here: moving textured scenes with a camera's noise, at the sets' bit rates.

Nothing of them is trivially compressible: band-limited texture on two grounds and on a dozen sprites, each moving in
its own way, a slow change of light, and fresh noise on every frame. The encoder is given the bytes that a clip of the
published set has, so that decoding costs what it costs there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Kind:
    """A sort of clip. bits: per second, so that a file has about the bytes of one of the published set."""

    name: str
    width: int
    height: int
    frames: int
    rate: int
    codec: str
    ending: str
    bits: int
    options: dict[str, str]


X264 = {"preset": "medium", "g": "250", "keyint_min": "250", "sc_threshold": "0", "threads": "1"}
VP9 = {"deadline": "good", "cpu-used": "4", "g": "128", "threads": "1"}
# SSv2: 19.4 GB / 220,847 clips of about 48 frames; Kinetics-400 at 340x256: 132 GB / 240,000 clips of 300 frames
KINDS = (
    Kind("ssv2-vp9", 427, 240, 48, 12, "libvpx-vp9", ".webm", 180_000, VP9),
    Kind("ssv2-h264", 426, 240, 48, 12, "libx264", ".mp4", 180_000, X264),
    Kind("kinetics-h264", 340, 256, 300, 30, "libx264", ".mp4", 440_000, X264),
)


def texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """(height, width, 3), about -60..60: noise of four octaves."""
    total = torch.zeros(1, 3, height, width)
    for cell, weight in ((64, 30.0), (24, 18.0), (8, 10.0), (3, 5.0)):
        coarse = torch.from_numpy(rng.normal(size=(1, 3, height // cell + 2, width // cell + 2)))
        total += weight * interpolate(coarse.float(), (height, width), mode="bicubic")
    image: NDArray[np.float32] = total[0].permute(1, 2, 0).numpy()
    return image


def scene(kind: Kind, seed: int) -> NDArray[np.uint8]:
    """(frames, height, width, 3)."""
    rng = np.random.default_rng(seed)
    h, w, n = kind.height, kind.width, kind.frames
    far = texture(rng, 2 * h, 2 * w)
    y, x = np.mgrid[:h, :w]
    sprites = []
    for _ in range(12):
        place, speed = rng.uniform(0, 1, 2) * (h, w), rng.normal(0, 60 / kind.rate, 2)
        size = rng.uniform(12, 50, 2)
        sprites.append((place, speed, size, texture(rng, h, w), rng.uniform(60, 190, 3)))
    out = np.empty((n, h, w, 3), np.uint8)
    for t in range(n):
        top = int((h // 2) * (1 + 0.9 * np.sin(2 * t / kind.rate)))
        left = int((w // 2) * (1 + 0.9 * np.cos(1.3 * t / kind.rate)))
        picture = 120 + far[top : top + h, left : left + w] + 12 * np.sin(t / kind.rate)
        for place, speed, size, surface, colour in sprites:
            cy, cx = (place + speed * t) % (h, w)
            inside = ((y - cy) / size[0]) ** 2 + ((x - cx) / size[1]) ** 2 < 1
            picture[inside] = np.roll(surface, int(speed[0] * t), 0)[inside] + colour
        out[t] = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255)
    return out


def write(path: Path, frames: NDArray[np.uint8], kind: Kind, **changes: Any) -> Path:
    """Encode frames as the kind says, with changes to codec or options."""
    bits = changes.get("bits", kind.bits)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            changes.get("codec", kind.codec), rate=kind.rate, options=changes.get("options", kind.options)
        )
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], changes.get("pixels", "yuv420p")
        if bits:
            stream.bit_rate = bits
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path
