"""Small video files for tests: their frames carry their number, as brightness or as bars."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

TICK = Fraction(1, 1000)  # seconds, of `times`


def numbered_frames(length: int, height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """(length, height, width, 3): a fixed texture on a ground of brightness 20 + 3 x number (mod 200)."""
    texture = np.random.default_rng(seed).integers(-8, 9, (height, width, 3))
    ground = 20 + (3 * np.arange(length)) % 200
    return np.clip(ground[:, None, None, None] + texture, 0, 255).astype(np.uint8)


def barred_frames(length: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """(length, height, width, 3): eight upright bars, the bits of the number, bright or dark; a fixed texture."""
    bar = np.arange(width) * 8 // width
    bits = np.arange(length)[:, None] >> bar & 1  # (length, width)
    texture = np.random.default_rng(0).integers(-20, 21, (height, width, 3))
    return (60 + 130 * bits[:, None, :, None] + texture).astype(np.uint8)


def read_number(frame: NDArray[np.uint8]) -> int:
    """The number that a frame of `barred_frames` carries, if it is upright and no bar is spoilt."""
    width = frame.shape[1]
    middles = [(2 * bit + 1) * width // 16 for bit in range(8)]
    return sum((frame[:, m - 1 : m + 2].mean() > 125) << bit for bit, m in enumerate(middles))


def write_file(
    path: Path,
    frames: NDArray[np.uint8],
    codec: str = "libx264",
    turn: int = 0,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    fps: int = 12,
    **options: str,
) -> Path:
    """Encode frames with PyAV; the container follows the file's ending.

    turn: degrees of the display matrix. pixels: FFmpeg's name of the pixel format. times: when each frame is shown,
    milliseconds; otherwise `fps` frames per second. options: of the encoder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    container_options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if times is not None:
            stream.codec_context.time_base = TICK
        if turn:
            stream.set_display_rotation(turn)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = int(times[number]), TICK
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def cut_by_edit_list(source: Path, path: Path, frames: int) -> Path:
    """An .mp4 without the first frames of another, by its edit list alone: the packets are all still there."""
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream: Any = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        shift = round(frames / (stream.average_rate * stream.time_base))
        for packet in old.demux(stream):
            if packet.size:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = copy
                new.mux(packet)
    return path


def packed_b_frames(source: Path, path: Path) -> Path:
    """An .avi in which B-frames share packets with the frames before them in the file, as XviD and DivX write, from one
    of MPEG-4 at 12 frames per second with single B-frames. In their own places are packets that say "not coded"."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream: Any = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [p for p in old.demux(stream) if p.size]
        contents = [bytes(p) for p in packets]
        mark = contents[0].index(b"\0\0\1\xb2") + 4  # the name of the encoder: decoders go by it
        end = contents[0].index(b"\0\0\1", mark)
        contents[0] = contents[0][:mark] + b"DivX503b1393p" + contents[0][end:]
        for place in range(len(contents) - 1):
            if _is_b_frame(contents[place + 1]):
                contents[place] += contents[place + 1]
                contents[place + 1] = b"\0\0\1\xb6\x51\x9f"
        for place, content in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts = copy, place, place
            packet.time_base, packet.is_keyframe = 1 / stream.average_rate, packets[place].is_keyframe
            new.mux(packet)
    return path


def hide_vp8_frame(source: Path, path: Path, number: int) -> Path:
    """A .webm whose decoder does not put out one of its frames, as encoders write that refer to later pictures."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream: Any = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for place, packet in enumerate(p for p in old.demux(stream) if p.size):
            content = bytearray(bytes(packet))
            if place == number:
                content[0] &= ~16
            hidden = av.Packet(bytes(content))
            hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
            hidden.is_keyframe, hidden.stream = packet.is_keyframe, copy
            new.mux(hidden)
    return path


def _is_b_frame(packet: bytes) -> bool:
    return packet[packet.index(b"\0\0\1\xb6") + 4] >> 6 == 2


def all_frames(path: Path) -> NDArray[np.uint8]:
    """Every frame in the order of the screen, upright: the plainest way there is to decode a file."""
    with av.open(str(path)) as container:
        frames = [np.rot90(_rgb(frame), frame.rotation // 90) for frame in container.decode(video=0)]
    return np.stack(frames)


def _rgb(frame: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
    return image
