"""Cut-off and damaged files of every container are errors that say so; healthy files that look odd are none."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from video_files import all_frames, barred_frames, write_file
from video_kinds import KINDS

from petl_bench.data.check import Job, probe_clip
from petl_bench.data.decode import DecodeError, open_video, silence_decoders
from petl_bench.data.manifest import Clip
from petl_bench.dataset_config import Sampling

SAMPLING = Sampling(frames=4)
FILES = {
    kind: KINDS[kind].write
    for kind in (
        "h264 with B-frames", "h264 in matroska", "h264 in MPEG-TS", "h264 in avi", "h264 in asf", "h264 in mxf",
        "h264 in flv", "vp9 in webm", "vp8 in webm", "av1", "av1 10 bit in webm", "hevc", "mpeg4 in avi",
        "mpeg4 with packed B-frames in avi", "mpeg4 with B-frames in mp4", "mpeg2 in a program stream", "mpeg2 in mxf",
        "wmv in asf", "mjpeg in avi", "prores in mov",
    )
}  # fmt: skip
FILES["vp8 in ogg"] = lambda folder: write_file(folder / "v.ogv", barred_frames(60), "libvpx", g="20")


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    silence_decoders()


def _error(path: Path) -> str:
    """What opening a file for training says, "" if nothing; the check must agree."""
    reason = ""
    try:
        with open_video(path) as video:
            video.frames(range(video.frame_count))
    except DecodeError as error:
        reason = str(error).removeprefix(f"{path}: ")
    checked = probe_clip(Job(Clip(path, 0, "x"), train=True), SAMPLING, 1).reason
    assert checked == reason
    return reason


@pytest.mark.parametrize("kind", FILES)
def test_cut_off_and_overwritten_files_are_errors(kind: str, tmp_path: Path) -> None:
    whole = FILES[kind](tmp_path)
    assert _error(whole) == ""
    content = whole.read_bytes()
    path = tmp_path / f"damaged{whole.suffix}"
    for fraction in (0.6, 0.97) if "program" not in kind else (0.6,):  # which does not say how long it is
        path.write_bytes(content[: int(len(content) * fraction)])
        assert "cut off" in _error(path) or "damaged" in _error(path), fraction
    middle = len(content) * 45 // 100
    path.write_bytes(content[:middle] + bytes(2000) + content[middle + 2000 :])
    if kind != "wmv in asf":  # whole frames are gone there, and nothing tells
        assert "damaged" in _error(path)


@pytest.mark.parametrize("ending", [".mkv", ".avi", ".mxf", ".mp4"])
def test_a_reason_names_the_bytes_that_are_missing(ending: str, tmp_path: Path) -> None:
    whole = write_file(tmp_path / f"a{ending}", barred_frames(25), fps=25, g="5")
    size = whole.stat().st_size
    whole.write_bytes(whole.read_bytes()[: size - 100])
    with (
        pytest.raises(
            DecodeError, match=rf"cut off: [0-9,]+ bytes by its headers, {size - 100:,} bytes there"
        ),
        open_video(whole),
    ):
        pass


def test_a_clip_that_is_cut_between_frames_is_told_by_the_duration_of_its_header(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.flv", barred_frames(60), g="20")
    with av.open(str(path)) as container:
        position = [p.pos for p in container.demux(video=0) if p.size][40]
    path.write_bytes(path.read_bytes()[: position - 16])  # with the header of the frame's tag
    assert "cut off: 5.2 s by its header, 3.7 s there" in _error(path)


def _longer_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream("libx264" if path.suffix != ".webm" else "libvpx", rate=12)
        picture.height, picture.width, picture.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000)
        for frame in barred_frames(12):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode(None))
        for second in range(8):
            samples = np.zeros((1, 48000), np.float32)
            part = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            part.rate, part.pts = 48000, second * 48000
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".flv", ".avi", ".ts"])
def test_sound_that_goes_on_after_the_pictures_is_no_damage(ending: str, tmp_path: Path) -> None:
    path = _longer_sound(tmp_path / f"a{ending}")
    assert _error(path) == ""
    with open_video(path) as video:
        assert video.frame_count == 12


def _options(path: Path, **options: str) -> Path:
    plain = write_file(path.with_name("plain.mp4"), barred_frames(30), g="10", bf="2")
    with av.open(str(plain)) as old, av.open(str(path), "w", options=options) as new:
        stream: Any = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.size:
                packet.stream = copy
                new.mux(packet)
    return path


def test_healthy_files_that_do_not_say_how_long_they_are(tmp_path: Path) -> None:
    live = _options(tmp_path / "live.mkv", live="1")
    fragments = _options(tmp_path / "fragments.mp4", movflags="frag_keyframe+empty_moov")
    more = _options(tmp_path / "more.mp4")
    more.write_bytes(more.read_bytes() + bytes(1000))
    avi = write_file(tmp_path / "a.avi", barred_frames(30), "mpeg4")
    content = bytearray(avi.read_bytes())
    struct.pack_into("<I", content, 4, 0)  # the size of the file, never filled in
    avi.write_bytes(content)
    longer = write_file(tmp_path / "b.avi", barred_frames(30), "mpeg4")
    content = bytearray(longer.read_bytes())
    struct.pack_into("<I", content, 4, len(content))  # counts its own header in
    longer.write_bytes(content)
    for path in (live, fragments, more, avi, longer):
        assert _error(path) == "", path
        with open_video(path) as video:
            assert np.array_equal(video.frames(range(30)), all_frames(path))
    for path in (live, fragments):
        path.write_bytes(path.read_bytes()[:-700])
        assert "cut off" in _error(path), path
