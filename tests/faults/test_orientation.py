"""Frames are turned and mirrored as players show them, for every display matrix, and come from the stream that players
choose."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from video_files import barred_frames, read_number, write_file

from petl_bench.data.decode import open_video, silence_decoders

# a, b, c, d of a display matrix -> the picture of four corners (top left, top right, below left, below right) that was
# worked out by hand: a place (x, y) is shown at (a x + c y, b x + d y)
SHOWN = {
    (1, 0, 0, 1): "ABCD",
    (-1, 0, 0, 1): "BADC",  # mirrored left-right
    (1, 0, 0, -1): "CDAB",  # mirrored top-down
    (-1, 0, 0, -1): "DCBA",  # turned by 180
    (0, 1, -1, 0): "CADB",  # turned by 90, clockwise
    (0, -1, 1, 0): "BDAC",  # turned by 90, the other way
    (0, 1, 1, 0): "ACBD",  # mirrored at the falling diagonal
    (0, -1, -1, 0): "DBCA",  # mirrored at the rising one
}
SIZES = {"video": (48, 64), "small video": (32, 48), "default video": (48, 64), "large video": (96, 128)}
COLOURS = {"A": (255, 0, 0), "B": (0, 255, 0), "C": (0, 0, 255), "D": (255, 255, 255)}
IDENTITY = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    silence_decoders()


def _corners() -> NDArray[np.uint8]:
    """A picture of four colours, 64 wide and 48 high."""
    picture = np.zeros((48, 64, 3), np.uint8)
    for name, rows, columns in (("A", 0, 0), ("B", 0, 1), ("C", 1, 0), ("D", 1, 1)):
        picture[24 * rows : 24 * rows + 24, 32 * columns : 32 * columns + 32] = COLOURS[name]
    return np.stack([picture] * 5)


def _named(frame: NDArray[np.uint8]) -> str:
    height, width = frame.shape[:2]
    places = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return "".join(
        min(COLOURS, key=lambda name: float(np.abs(frame[place] - np.array(COLOURS[name])).sum()))
        for place in places
    )


@pytest.mark.parametrize("matrix", SHOWN)
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_every_display_matrix_in_mp4(
    matrix: tuple[int, int, int, int], decoder: str, codec: str, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "a.mp4", _corners(), codec)
    content = path.read_bytes()
    a, b, c, d = (65536 * value for value in matrix)
    at = content.rindex(IDENTITY)  # of the track; that of the whole film comes before it
    assert content.count(IDENTITY) == 2
    path.write_bytes(content[:at] + struct.pack(">5i", a, b, 0, c, d) + content[at + 20 :])
    with open_video(path, decoder) as video:
        frames = video.frames([4, 0])
        assert {_named(frame) for frame in frames} == {SHOWN[matrix]}
        assert frames.shape[1:3] == ((48, 64) if matrix[0] else (64, 48))


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotations_in_matroska(turn: int, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.mkv", _corners(), turn=turn)
    with av.open(str(path)) as container:
        rotation = next(container.decode(video=0)).rotation % 360
    assert rotation == turn  # Matroska carries it
    with open_video(path) as video:  # counter-clockwise, as numpy turns
        assert _named(video.frames([0])[0]) == _named(np.rot90(_corners()[0], turn // 90))


def _write(path: Path, streams: list[str]) -> Path:
    """A file with streams in this order. All are marked as defaults unless one is called so."""
    with av.open(str(path), "w") as container:
        made: list[Any] = []
        for kind in streams:
            if kind == "sound":
                made.append(container.add_stream("aac", rate=48000))
                continue
            stream: Any = container.add_stream("libx264" if "video" in kind else "mjpeg", rate=12)
            stream.height, stream.width = SIZES.get(kind, (200, 200))
            stream.pix_fmt = "yuv420p" if "video" in kind else "yuvj420p"
            if kind == "marked cover":
                stream.disposition = av.stream.Disposition.attached_pic
            elif kind == "default video" or "default video" not in streams:
                stream.disposition = av.stream.Disposition.default
            made.append(stream)
        for kind, stream in zip(streams, made, strict=True):
            if kind == "sound":
                part = av.AudioFrame.from_ndarray(
                    np.zeros((1, 48000), np.float32), format="fltp", layout="mono"
                )
                part.rate = 48000
                container.mux(stream.encode(part))
            elif "video" in kind:
                for frame in barred_frames(12, stream.height, stream.width):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            else:
                cover = np.full((200, 200, 3), 90, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize(
    "streams",
    [
        ["cover", "video"],
        ["video", "cover"],
        ["marked cover", "video"],
        ["video", "marked cover"],
        ["sound", "video"],
        ["sound", "cover", "video"],
        ["small video", "video"],
        ["video", "small video"],
        ["large video", "default video"],
        ["cover", "small video", "sound", "video", "marked cover"],
    ],
    ids=", ".join,
)
def test_streams_in_every_order(streams: list[str], decoder: str, ending: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"a{ending}", streams)
    with open_video(path, decoder) as video:
        frames = video.frames(range(video.frame_count))
    assert frames.shape == (12, 48, 64, 3)
    assert [read_number(frame) for frame in frames] == list(range(12))


def test_a_file_of_a_cover_alone_is_no_video(tmp_path: Path) -> None:
    from petl_bench.data.decode import DecodeError

    path = _write(tmp_path / "a.mp4", ["sound", "marked cover"])
    with pytest.raises(DecodeError, match="no video stream but pictures"), open_video(path):
        pass
