"""Frames by index: exact against plain decoding for every kind of stream, one error for every broken file."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import all_frames, numbered_frames, write_file

from petl_bench.data import decode
from petl_bench.data.decode import DecodeError, decoder_name, decoder_version, open_video, silence_decoders
from petl_bench.errors import UserError

DECODERS = ("decord", "pyav")
LENGTH = 60
FILES: dict[str, Callable[[Path], Path]] = {
    "h264 with B-frames": lambda p: write_file(
        p / "b.mp4", numbered_frames(LENGTH), g="20", bf="3", **{"x264-params": "b-adapt=0:scenecut=0"}
    ),
    "h264 open groups": lambda p: write_file(
        p / "open.mp4",
        numbered_frames(LENGTH),
        **{"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"},
    ),
    "h264 all key frames": lambda p: write_file(p / "intra.mp4", numbered_frames(LENGTH), g="1"),
    "h264 in matroska": lambda p: write_file(p / "b.mkv", numbered_frames(LENGTH), g="20", bf="3"),
    "h264 in MPEG-TS": lambda p: write_file(p / "b.ts", numbered_frames(LENGTH), g="20", bf="3"),
    "vp9 in webm": lambda p: write_file(
        p / "v.webm",
        numbered_frames(LENGTH),
        "libvpx-vp9",
        g="20",
        **{"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "8"},
    ),
    "mpeg4 with B-frames in avi": lambda p: write_file(
        p / "x.avi", numbered_frames(LENGTH), "mpeg4", g="12", bf="2"
    ),
    "mpeg4 in avi": lambda p: write_file(p / "y.avi", numbered_frames(LENGTH), "mpeg4", g="12"),
    "one frame": lambda p: write_file(p / "one.mp4", numbered_frames(1)),
}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    silence_decoders()


@pytest.mark.parametrize("kind", FILES)
def test_frames_are_exact_in_every_decoder(kind: str, tmp_path: Path) -> None:
    path = FILES[kind](tmp_path)
    reference = all_frames(path)
    rng = np.random.default_rng(0)
    few = [rng.integers(0, len(reference), size).tolist() for size in (1, 1, 2, 3, 8, 8)]
    spread = list(range(0, len(reference), 7))
    for decoder in DECODERS:
        for indices in (*few, spread, spread[::-1], [len(reference) - 1], [0, 0]):
            with open_video(path, decoder) as video:
                assert video.frame_count == len(reference)
                for _ in range(2):  # a second call starts over
                    assert np.array_equal(video.frames(indices), reference[indices]), (decoder, indices)


def test_frame_i_shows_number_i(tmp_path: Path) -> None:
    path = FILES["h264 with B-frames"](tmp_path)
    for decoder in DECODERS:
        with open_video(path, decoder) as video:
            brightness = video.frames(range(LENGTH)).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(brightness, 20 + 3 * np.arange(LENGTH), atol=1.4)


def test_videos_turned_by_their_metadata_come_upright(tmp_path: Path) -> None:
    frames = numbered_frames(4)
    frames[:, :16, :16] = (250, 0, 0)  # a red corner, top left
    upright = write_file(tmp_path / "upright.mp4", frames, g="1")
    turned = write_file(tmp_path / "turned.mp4", np.rot90(frames, 1, (1, 2)).copy(), turn=-90, g="1")
    for decoder in DECODERS:
        with open_video(upright, decoder) as one, open_video(turned, decoder) as other:
            a, b = one.frames([0, 3]), other.frames([0, 3])
        assert a.shape == b.shape == (2, 48, 64, 3)
        assert np.abs(a.astype(int) - b).mean() < 3


def _broken(folder: Path) -> dict[str, Path]:
    whole = FILES["h264 with B-frames"](folder).read_bytes()  # its index comes first: it opens when cut
    files = {
        "cut.mp4": whole[: len(whole) * 6 // 10],
        "cut_index.mp4": whole[:200],
        "garbage.mp4": np.random.default_rng(0).bytes(20_000),
        "text.webm": b"not a video\n" * 100,
        "empty.mp4": b"",
    }
    paths = {}
    for name, content in files.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    Image.new("RGB", (64, 48)).save(folder / "image.png")
    paths["image"] = folder / "image.png"
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    paths["sound"] = folder / "sound.mp4"
    paths["absent"] = folder / "absent.mp4"
    (folder / "folder.mp4").mkdir()
    paths["folder"] = folder / "folder.mp4"
    return paths


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_broken_file_is_a_decode_error_that_names_it(decoder: str, tmp_path: Path) -> None:
    for kind, path in _broken(tmp_path).items():
        with pytest.raises(DecodeError) as caught, open_video(path, decoder) as video:
            video.frames([0, video.frame_count // 2, video.frame_count - 1])
        assert str(path) in str(caught.value), kind


@pytest.mark.parametrize("damage", ["cut", "middle"])
def test_frames_of_damaged_files_are_right_or_an_error(damage: str, tmp_path: Path) -> None:
    """Never a copy of another frame, and the same outcome each time and in both decoders: decord alone reads
    ahead and fails on whole frames before a broken one, now and then."""
    path = FILES["h264 with B-frames"](tmp_path)
    whole = all_frames(path)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[packets[50][0] :]
    else:
        position, size = packets[33]
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    outcomes: dict[str, list[bool]] = {decoder: [] for decoder in DECODERS}
    for decoder in DECODERS:
        for index in range(0, LENGTH, 2):
            try:
                with open_video(path, decoder) as video:
                    assert np.array_equal(video.frames([index])[0], whole[index])
                outcomes[decoder].append(True)
            except DecodeError:
                outcomes[decoder].append(False)
    assert outcomes["decord"] == outcomes["pyav"]
    assert 5 <= sum(outcomes["pyav"]) < len(outcomes["pyav"])


def test_no_file_stays_open(tmp_path: Path) -> None:
    good, bad = FILES["h264 all key frames"](tmp_path), tmp_path / "bad.mp4"
    bad.write_bytes(b"x" * 1000)

    def read_all() -> None:
        for decoder in DECODERS:
            for path in (good, bad):
                try:
                    with open_video(path, decoder) as video:
                        video.frames([1, 4, 7])
                except DecodeError:
                    assert path == bad

    read_all()
    before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    for _ in range(20):
        read_all()
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before


def test_names_of_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoder_name("auto") == decode.AUTO[0]
    assert decoder_version("decord") == f"decord {version('decord2')}"
    assert decoder_version("pyav") == f"pyav {av.__version__}"
    with pytest.raises(UserError, match="Did you mean 'decord'"):
        decoder_name("decort")
    monkeypatch.setitem(decode.MODULES, "decord", "no_such_module")
    assert decoder_name("auto") == "pyav"
    with pytest.raises(UserError, match="pip install decord2"):
        decoder_name("decord")
