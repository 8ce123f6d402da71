"""Frames by index: exact against plain decoding for every kind of stream, one error for every broken file."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from video_files import all_frames, barred_frames, read_number, write_file
from video_kinds import IRREGULAR, KINDS, LENGTH, queries

from petl_bench.data import decode, decode_decord, decode_torchcodec
from petl_bench.data.decode import DecodeError, decoder_name, decoder_version, open_video, silence_decoders
from petl_bench.data.decode_pyav import PyavDecoder
from petl_bench.errors import UserError

DECODERS = ("decord", "pyav")


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    silence_decoders()


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_exact_in_every_decoder(kind: str, tmp_path: Path) -> None:
    made = KINDS[kind]
    path = made.write(tmp_path)
    reference = all_frames(path)
    assert [read_number(frame) for frame in reference] == list(made.numbers)
    for decoder in DECODERS:
        with open_video(path, decoder) as video:
            assert video.frame_count == len(reference)
            for indices in queries(len(reference)):
                for _ in range(2):  # a second call starts over
                    frames = video.frames(indices)
                    assert [read_number(f) for f in frames] == [made.numbers[i] for i in indices]
                    assert np.array_equal(frames, reference[indices]), (decoder, indices)
            assert video.name == ("decord" if decoder == "decord" and made.decord else "pyav")
    with closing(PyavDecoder(path)) as pyav:
        assert pyav.proven == made.jumps


def _in_torchcodec(folder: Path, what: str) -> dict[str, dict[str, object]]:
    if not importlib.util.find_spec("torchcodec"):
        pytest.skip("torchcodec is not installed")
    command = [sys.executable, str(Path(__file__).with_name("torchcodec_process.py")), str(folder), what]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, object]] = json.loads(done.stdout)
    return told


def test_frames_are_exact_in_torchcodec(tmp_path: Path) -> None:
    kinds = {made.write(tmp_path).name: made for made in KINDS.values()}
    told = _in_torchcodec(tmp_path, "all")
    for name, made in kinds.items():
        result = told[name]
        assert result["right"], (name, result)
        assert result["decoder"] == ("torchcodec" if made.torchcodec else "pyav"), name
        assert result["worst"] == 0, (name, result)


def test_broken_files_are_errors_in_torchcodec(tmp_path: Path) -> None:
    files = _broken(tmp_path)
    (tmp_path / "b.mp4").unlink()
    told = _in_torchcodec(tmp_path, "last")
    assert len(told) == len(files) - 1  # one of them is absent
    for name, result in told.items():
        assert str(tmp_path / name) in str(result.get("error")), name


@pytest.mark.parametrize("kind", ["h264 variable frame rate", "vp9 variable frame rate"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_spans_of_seconds_follow_the_times_of_frames(kind: str, decoder: str, tmp_path: Path) -> None:
    """Against a loop over the times that the file was written with: milliseconds, after the first frame."""
    times = [t - IRREGULAR[0] for t in IRREGULAR]
    rng = np.random.default_rng(0)
    spans = np.sort(rng.integers(0, times[-1] + 1, (200, 2)))
    with open_video(KINDS[kind].write(tmp_path), decoder) as video:
        for start, stop in [
            *spans.tolist(),
            (0, times[-1] + 1000),
            (times[5], times[9]),
            (times[7], times[7]),
        ]:
            inside = [i for i, t in enumerate(times) if start <= t < stop]
            if not inside:  # the frame that is on the screen
                inside = [max(i for i, t in enumerate(times) if t <= start)]
            first, end = video.frame_range(start / 1000, stop / 1000)
            assert list(range(first, end)) == inside, (start, stop)
        with pytest.raises(ValueError, match="begins after the last frame"):
            video.frame_range(times[-1] / 1000 + 10, times[-1] / 1000 + 11)


def _broken(folder: Path) -> dict[str, Path]:
    whole = KINDS["h264 with B-frames"].write(folder).read_bytes()  # its index comes first: it opens when cut
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


def test_a_damaged_group_of_pictures_is_an_error_and_the_others_are_right(tmp_path: Path) -> None:
    """Never a copy of another frame, nor one that the decoder made up, and the same outcome each time."""
    path = KINDS["h264 with B-frames"].write(tmp_path)  # a key frame every 20
    whole = all_frames(path)
    with av.open(str(path)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][21]
    content = bytearray(path.read_bytes())
    content[position + 16 : position + size] = bytes(
        size - 16
    )  # of a frame that all later ones of its group need
    path.write_bytes(content)
    for index in range(LENGTH):
        if 21 <= index < 40:
            with pytest.raises(DecodeError, match="damaged: "), open_video(path, "pyav") as video:
                video.frames([index])
        else:
            with open_video(path, "pyav") as video:
                assert np.array_equal(video.frames([index])[0], whole[index])


def test_no_file_stays_open(tmp_path: Path) -> None:
    good, bad = KINDS["h264 all key frames"].write(tmp_path), tmp_path / "bad.mp4"
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


@pytest.mark.parametrize("decoder", DECODERS)
def test_memory_does_not_grow_with_the_files_read(decoder: str, tmp_path: Path) -> None:
    """Workers read a hundred thousand files. A file that stayed would be 2 MB of pixels, 100 of them 200."""
    frames = barred_frames(8, 240, 320)
    good = write_file(tmp_path / "good.mp4", frames, g="4")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(good.read_bytes()[:4000])

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def read(times: int) -> None:
        for _ in range(times):
            with open_video(good, decoder) as video:
                video.frames(range(8))
            with pytest.raises(DecodeError), open_video(bad, decoder) as video:
                video.frames([0, 7])

    read(20)
    before = resident()
    read(100)
    assert resident() - before < 40


def test_what_nothing_refers_to_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the wanted frames are those of decoding everything, each asked for alone."""
    path = KINDS["h264 one group"].write(tmp_path)  # three B-frames between two others
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(path, "pyav") as video:
        assert isinstance(video, PyavDecoder)
        put_in: list[int | None] = []
        decode = video._decode

        def counted(place: int | None) -> list[Any]:
            frames = decode(place)
            put_in.extend([place] * len(frames))
            return frames

        monkeypatch.setattr(video, "_decode", counted)
        video.frames([len(every) - 1])
        assert len(put_in) < 0.7 * len(every)
        put_in.clear()
        video.frames([0])
        assert len(put_in) == 1
        for number, frame in enumerate(every):
            assert np.array_equal(video.frames([number])[0], frame), number


def test_names_of_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoder_name("auto") == "pyav"
    assert decoder_version("decord") == f"decord {version('decord2')}"
    assert decoder_version("pyav") == f"pyav {av.__version__}"
    with pytest.raises(UserError, match="Did you mean 'decord'"):
        decoder_name("decort")
    monkeypatch.setitem(decode.MODULES, "decord", "no_such_module")
    with pytest.raises(UserError, match="pip install decord2"):
        decoder_name("decord")
    monkeypatch.setitem(decode.MODULES, "torchcodec", "no_such_module")
    with pytest.raises(UserError, match="pip install torchcodec"):
        decoder_name("torchcodec")


def test_decord_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fails(name: str) -> None:
        tried.append(name)
        raise OSError("libavcodec.so.58: cannot open shared object file\n(more)")

    path = KINDS["h264 all key frames"].write(tmp_path)
    decode_decord.decord_fault.cache_clear()
    monkeypatch.setattr(decode_decord, "import_module", fails)
    try:
        with pytest.raises(
            UserError, match=r"'decord' is installed but does not load \(libavcodec\.so\.58.*pyav"
        ):
            decoder_name("decord")
        with open_video(path) as video:
            assert video.name == "pyav"
        assert tried == ["decord"]  # once, not for each video
    finally:
        decode_decord.decord_fault.cache_clear()


def test_torchcodec_without_ffmpeg_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise RuntimeError("\nCould not load libtorchcodec. Likely causes: ...")

    monkeypatch.setitem(decode.MODULES, "torchcodec", "av")  # as if it were installed
    monkeypatch.setattr(decode_torchcodec, "import_module", fails)
    with pytest.raises(UserError, match=r"does not load \(Could not load libtorchcodec.*apt install ffmpeg"):
        decoder_name("torchcodec")
