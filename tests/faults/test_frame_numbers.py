"""Frames have the numbers in which a decoder puts them out, whatever times their packets claim, and `datasets check`,
`datasets prepare` and training read the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from one_process import close_writers
from video_files import all_frames, barred_frames, read_number, write_file
from video_kinds import B_FRAMES, CLOSED_HEVC, KINDS, LENGTH, OPEN_HEVC

from petl_bench.data.check import Job, probe_clip
from petl_bench.data.decode import open_video, silence_decoders
from petl_bench.data.decode_pyav import PyavDecoder
from petl_bench.data.frame_coding import FrameFormat
from petl_bench.data.manifest import Clip
from petl_bench.data.prepare import prepare_clip
from petl_bench.data.shards import PreparedVideo
from petl_bench.dataset_config import Sampling


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    silence_decoders()


def _with_times(source: Path, path: Path, times: Sequence[int]) -> Path:
    """A copy whose packets claim to be shown at these ticks of the stream's rate."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream: Any = old.streams.video[0]
        delay = max(place - time for place, time in enumerate(times))
        copy = new.add_stream_from_template(stream)
        for place, packet in enumerate(p for p in old.demux(stream) if p.size):
            packet.pts, packet.dts = times[place], place - delay
            packet.time_base, packet.stream, packet.duration = 1 / stream.average_rate, copy, 1
            new.mux(packet)
    return path


def _ranks(path: Path) -> list[int]:
    """Of the times of a file's packets, in the order of the file."""
    with av.open(str(path)) as container:
        times = [p.pts for p in container.demux(video=0) if p.size]
    return [sorted(times).index(t) for t in times]


def _decoding_order(right: list[int]) -> list[int]:
    return list(range(len(right)))


def _two_exchanged(right: list[int]) -> list[int]:
    """B-frames in the middle, which nothing refers to."""
    wrong = list(right)
    a, b = (right.index(number) for number in (25, 26))
    wrong[a], wrong[b] = right[b], right[a]
    return wrong


@pytest.mark.parametrize("change", [_decoding_order, _two_exchanged])
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_wrong_times_are_not_believed(change: Any, ending: str, tmp_path: Path) -> None:
    """As stream copies of AVI files have them: an ordinary file but for its times."""
    plain = write_file(tmp_path / "plain.mp4", barred_frames(LENGTH), **B_FRAMES)
    right = _ranks(plain)
    honest = _with_times(plain, tmp_path / f"honest{ending}", right)
    wrong = _with_times(plain, tmp_path / f"wrong{ending}", change(right))
    assert _ranks(wrong) == change(right) != right
    for path, proven in ((honest, True), (wrong, False)):
        for decoder in ("pyav", "decord"):
            with open_video(path, decoder) as video:
                assert [read_number(f) for f in video.frames(range(LENGTH))] == list(range(LENGTH))
                for number in (24, 25, 26, 27, 59):
                    assert read_number(video.frames([number])[0]) == number
                assert video.times() == pytest.approx(np.arange(LENGTH) / 12, abs=2e-3)
        with closing(PyavDecoder(path)) as pyav:
            assert pyav.proven == proven


@pytest.mark.parametrize("options", [CLOSED_HEVC, OPEN_HEVC], ids=["closed", "open"])
def test_wrong_times_in_hevc_are_noticed_on_decoding(options: dict[str, str], tmp_path: Path) -> None:
    plain = write_file(tmp_path / "plain.mp4", barred_frames(LENGTH), "libx265", **options)
    wrong = _with_times(plain, tmp_path / "wrong.mp4", _two_exchanged(_ranks(plain)))
    for number in range(20, 32):
        with open_video(wrong, "pyav") as video:
            assert read_number(video.frames([number])[0]) == number


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("b_frames", ["0", "1", "2", "5"])
def test_frames_of_avi_are_those_of_decord_too(codec: str, b_frames: str, tmp_path: Path) -> None:
    """A decoder that has nothing in common with this code, read from the first frame to the last."""
    decord = pytest.importorskip("decord")
    path = write_file(tmp_path / "a.avi", barred_frames(40), codec, g="15", bf=b_frames)
    reader = decord.VideoReader(str(path))
    others = np.stack([reader.next().asnumpy() for _ in range(len(reader))])
    with open_video(path, "pyav") as video:
        assert np.array_equal(video.frames(range(video.frame_count)), others)
    assert [read_number(f) for f in others] == list(range(40))


@pytest.mark.parametrize("kind", KINDS)
def test_check_prepare_and_training_read_the_same_frames(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind].write(tmp_path)
    reference, clip = all_frames(path), Clip(path, 0, "x")
    probe = probe_clip(Job(clip, train=True), Sampling(frames=4), 3)
    assert (probe.reason, probe.frames) == ("", len(reference))
    assert (probe.height, probe.width) == reference.shape[1:3]
    raw = FrameFormat(kind="raw", quality=None)
    (tmp_path / "cache").mkdir()
    made = prepare_clip(clip, tmp_path / "cache", raw, "auto")
    close_writers()
    assert made.placed is not None, made
    with closing(PreparedVideo(tmp_path / "cache", made.placed, raw)) as prepared:
        assert np.array_equal(prepared.frames(range(prepared.frame_count)), reference)
        with open_video(path) as video:  # as training does
            assert video.frame_count == prepared.frame_count
            assert np.array_equal(prepared.times(), video.times())
            some = list(range(0, len(reference), 7))
            assert np.array_equal(video.frames(some), reference[some])


def test_memory_of_counted_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound, frames are decoded again."""
    path = KINDS["mpeg4 with B-frames in avi"].write(tmp_path)
    reference = all_frames(path)
    monkeypatch.setattr("petl_bench.data.decode_pyav.KEPT", 20 * 48 * 64)
    with closing(PyavDecoder(path)) as video:
        assert not video._kept
        for indices in ([59, 3], [0], [30, 30, 12]):
            assert np.array_equal(video.frames(indices), reference[indices])
