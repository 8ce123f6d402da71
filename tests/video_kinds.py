"""One small file of every kind that decoders get wrong: codec, container, groups of pictures, times, shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from video_files import barred_frames, cut_by_edit_list, hide_vp8_frame, packed_b_frames, write_file

LENGTH = 60
HIDDEN = 30
PACKED = 59  # so many that the last frame is no B-frame
B_FRAMES = {"g": "20", "bf": "3", "x264-params": "b-adapt=0:scenecut=0"}
OPEN = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
VP8 = {"g": "20", "deadline": "realtime", "cpu-used": "8"}
VP9 = {"g": "20", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "8"}
AV1 = {"g": "20", "preset": "12", "svtav1-params": "lp=1"}
HEVC = "log-level=none:keyint=16:bframes=3:pools=none"
CLOSED_HEVC, OPEN_HEVC = ({"x265-params": f"{HEVC}:open-gop={i}"} for i in (0, 1))

# milliseconds between 1 and 400 apart, no two gaps alike: 2.5 to 1000 frames per second
IRREGULAR = np.cumsum(np.random.default_rng(0).permutation(np.linspace(1, 400, LENGTH)).astype(int)).tolist()


@dataclass(frozen=True)
class Kind:
    """How a file is made and what its frames show.

    numbers: of the frames, in the order of the screen. decord, torchcodec: whether that decoder reads it itself.
    jumps: whether PyAV decodes only what is wanted.
    """

    write: Callable[[Path], Path]
    numbers: Sequence[int] = range(LENGTH)
    decord: bool = True
    torchcodec: bool = True
    jumps: bool = True


def _file(name: str, *args: object, height: int = 48, width: int = 64, turn: int = 0, **more: object):  # type: ignore[no-untyped-def]
    def write(folder: Path) -> Path:
        frames = barred_frames(LENGTH, height, width)
        if turn:  # lies on its side in the file and comes upright
            frames = np.ascontiguousarray(np.rot90(frames, turn // 90, (1, 2)))
        return write_file(folder / name, frames, *args, turn=-turn, **more)  # type: ignore[arg-type]

    return write


def _whole(*args: object, **more: object) -> Kind:
    """A kind that is decoded from its start, whatever decoder is asked for."""
    return Kind(_file(*args, **more), decord=False, torchcodec=False, jumps=False)  # type: ignore[arg-type]


def _packed(folder: Path) -> Path:
    plain = write_file(folder / "plain.avi", barred_frames(PACKED), "mpeg4", g="12", bf="1")
    return packed_b_frames(plain, folder / "packed.avi")


def _hidden(folder: Path) -> Path:
    return hide_vp8_frame(_file("all.webm", "libvpx", **VP8)(folder), folder / "hidden.webm", HIDDEN)


def _cut(folder: Path) -> Path:
    return cut_by_edit_list(_file("whole.mp4", **B_FRAMES)(folder), folder / "cut.mp4", 7)


KINDS = {
    "h264 with B-frames": Kind(_file("b.mp4", **B_FRAMES)),
    "h264 open groups": Kind(_file("open.mp4", **OPEN), decord=False),
    "h264 all key frames": Kind(_file("intra.mp4", g="1")),
    "h264 one group": Kind(_file("long.mp4", g="1000", bf="3")),
    "h264 in matroska": Kind(_file("b.mkv", g="20", bf="3")),
    "h264 in MPEG-TS": _whole("b.ts", g="20", bf="3"),
    "h264 in avi": _whole("b.avi", g="20", bf="3"),
    "h264 in asf": _whole("b.wmv", g="20", bf="3"),
    "h264 in mxf": _whole("b.mxf", fps=25, g="20", bf="3"),
    "h264 in flv": _whole("b.flv", g="20", bf="3"),
    "h264 interlaced": _whole("fields.mp4", g="20", bf="3", **{"x264-params": "tff=1"}),
    "h264 variable frame rate": Kind(_file("vfr.mp4", times=IRREGULAR, **B_FRAMES)),
    "h264 cut by an edit list": Kind(_cut, range(7, LENGTH), decord=False),
    "h264 10 bit": Kind(_file("ten.mp4", pixels="yuv420p10le", g="20"), decord=False, torchcodec=False),
    "h264 4:4:4 odd size": Kind(_file("odd.mp4", pixels="yuv444p", g="20", height=49, width=65)),
    "h264 turned by 90": Kind(_file("turn90.mp4", turn=90, g="20"), decord=False, torchcodec=False),
    "h264 turned by 180": Kind(_file("turn180.mp4", turn=180, g="20"), decord=False, torchcodec=False),
    "h264 turned by 270": Kind(_file("turn270.mp4", turn=270, g="20"), decord=False, torchcodec=False),
    "vp9 in webm": Kind(_file("v.webm", "libvpx-vp9", **VP9)),
    "vp9 variable frame rate": Kind(_file("vfr.webm", "libvpx-vp9", times=IRREGULAR, **VP9)),
    "vp9 odd size": Kind(_file("odd.webm", "libvpx-vp9", height=49, width=65, **VP9)),
    "hevc": Kind(_file("hevc.mp4", "libx265", **CLOSED_HEVC), decord=False),
    "hevc open groups": Kind(_file("hevc_open.mp4", "libx265", **OPEN_HEVC), decord=False),
    "hevc 10 bit": Kind(
        _file("hevc10.mp4", "libx265", pixels="yuv420p10le", **CLOSED_HEVC), decord=False, torchcodec=False
    ),
    "av1": Kind(_file("av1.mp4", "libsvtav1", **AV1)),
    "av1 10 bit in webm": Kind(
        _file("av1.webm", "libsvtav1", pixels="yuv420p10le", **AV1), decord=False, torchcodec=False
    ),
    "av1 odd size": Kind(_file("av1_odd.mp4", "libsvtav1", height=49, width=65, **AV1)),
    "vp8 in webm": Kind(_file("v8.webm", "libvpx", **VP8)),
    "vp8 with a hidden frame": Kind(_hidden, [n for n in range(LENGTH) if n != HIDDEN], False, False, False),
    "mpeg4 with B-frames in avi": _whole("x.avi", "mpeg4", g="12", bf="2"),
    "mpeg4 with packed B-frames in avi": Kind(_packed, range(PACKED), False, False, False),
    "mpeg4 with B-frames in mp4": _whole("x.mp4", "mpeg4", g="12", bf="2"),
    "mpeg4 with B-frames in matroska": _whole("x.mkv", "mpeg4", g="12", bf="2"),
    "mpeg4 in avi": _whole("y.avi", "mpeg4", g="12"),
    "mpeg2 in a program stream": _whole("p.mpg", "mpeg2video", fps=25, g="12", bf="2"),
    "mpeg2 in mxf": _whole("p.mxf", "mpeg2video", fps=25, g="12", bf="2"),
    "wmv in asf": _whole("w.wmv", "wmv2", g="12"),
    "mjpeg in avi": _whole("m.avi", "mjpeg", pixels="yuvj420p"),
    "prores in mov": Kind(_file("p.mov", "prores_ks", pixels="yuv422p10le"), decord=False, torchcodec=False),
    "one frame": Kind(lambda p: write_file(p / "one.mp4", barred_frames(1)), range(1)),
}


def queries(length: int) -> list[list[int]]:
    """Indices to ask for: single ones, some in any order, every seventh both ways, the last, one twice."""
    rng = np.random.default_rng(0)
    few = [rng.integers(0, length, size).tolist() for size in (1, 1, 2, 3, 8, 8)]
    spread = list(range(0, length, 7))
    return [*few, spread, spread[::-1], [length - 1], [0, 0]]
