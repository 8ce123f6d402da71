"""Prepared frames and batches of them: those of the videos."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prepared_clips import (
    config_of,
    listed_twice,
    prepare,
    psnr,
    write_clips,
)
from video_files import all_frames, barred_frames, numbered_frames, read_number, write_file

from petl_bench.data import Clip, Loader, open_data
from petl_bench.data.decode import open_video
from petl_bench.data.frame_coding import FrameFormat, decode_frame, decode_jpeg, encode_frame, shrunk
from petl_bench.data.prepare import Wanted, prepare_clips
from petl_bench.data.prepared import open_clip, open_prepared
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import Sampling, Views


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_clips(tmp_path)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_frames_are_those_of_the_videos(kind: str, decoder: str, folder: Path) -> None:
    done = prepare(folder, Wanted(kind), decoder=decoder)
    assert (done.made, done.card.clips, done.failed, done.card.complete) == (6, 6, {}, True)
    data = open_data(config_of(folder), 0)
    cache = open_prepared(data)
    assert cache is not None and len(cache) == 6
    for clip in (*data.train.clips, *data.test.clips):
        source = all_frames(clip.path)
        with open_clip(clip, decoder, cache) as video, open_video(clip.path, decoder) as plain:
            assert video.name == "prepared" and video.frame_count == len(source)
            np.testing.assert_array_equal(video.times(), plain.times())
            indices = [len(source) - 1, 0, len(source) // 2, 0]
            frames = video.frames(indices)
            assert frames.dtype == np.uint8 and frames.shape == (4, *source.shape[1:])
            if kind == "raw":
                np.testing.assert_array_equal(frames, source[indices])
            else:  # these textures are noise in every channel, which 4:2:0 has a hard time with
                assert 30 < psnr(frames, source[indices]) < 60
            assert [
                np.argmin([np.abs(np.float64(s) - f).mean() for s in source]) for f in frames[:3]
            ] == indices[:3]
            for span in ((0.0, 0.5), (0.2, 1.0), (0.0, 100.0)):
                assert video.frame_range(*span) == plain.frame_range(*span)


def test_better_quality_is_closer_and_larger(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = []
    for quality in (50, 90, 95):
        out = tmp_path_factory.mktemp("out")
        card = prepare(folder, Wanted(quality=quality), out).card
        data = open_data(config_of(folder, prepared=str(out)), 0)
        clip = data.train.clips[0]
        with open_clip(clip, "pyav", open_prepared(data)) as video:
            found.append((card.bytes, psnr(video.frames(range(24)), all_frames(clip.path))))
    assert found == sorted(found) and found[0][1] + 1 < found[2][1]


def test_turned_videos_and_many_frames(tmp_path: Path) -> None:
    """A video that decord leaves to PyAV, longer than what is decoded at a time, in one group of pictures."""
    for name, turn in (("train/a/1", 90), ("train/b/1", 0), ("test/a/1", 180)):
        write_file(tmp_path / f"{name}.mp4", barred_frames(200), turn=turn, g="250", preset="ultrafast")
    prepare(tmp_path, decoder="decord")
    data = open_data(config_of(tmp_path), 0)
    for clip in (*data.train.clips, *data.test.clips):
        with open_clip(clip, "decord", open_prepared(data)) as video:
            frames = video.frames(range(200))
        assert frames.shape[1:] == all_frames(clip.path).shape[1:]
        if clip.id == "train/b/1.mp4":
            assert [read_number(frame) for frame in frames] == list(range(200))
        assert psnr(frames, all_frames(clip.path)) > 25


def test_large_frames_are_shrunk(folder: Path) -> None:
    prepare(folder, Wanted("raw", short_side=32))
    data = open_data(config_of(folder), 0)
    sizes = {}
    for clip in (*data.train.clips, *data.test.clips):
        with open_clip(clip, "pyav", open_prepared(data)) as video:
            sizes[clip.id] = video.frames([0]).shape[1:3]
            expected = shrunk(all_frames(clip.path)[0], 32)
            np.testing.assert_array_equal(video.frames([0])[0], expected)
    assert sizes["train/a/1.mp4"] == (32, 43) and sizes["train/b/1.mp4"] == (51, 32)
    flat = np.full((90, 120, 3), (10, 100, 200), np.uint8)
    assert (shrunk(flat, 30) == flat[:30, :40]).all() and shrunk(flat, 90) is flat


def test_spans_hold_their_frames_alone(tmp_path: Path) -> None:
    """Of two spans of a long file, and one between two frames, at a variable rate."""
    times = [0, 100, 150, 400, 420, 700, 1000, 1050, 1100, 1500]
    file = write_file(tmp_path / "long.mp4", barred_frames(10), times=times, g="4", bf="2")
    spans = {"x": (0.1, 0.5), "y": (0.4, 1.05), "z": (0.5, 0.6), "w": (1.2, 99.0), "late": (5.0, 6.0)}
    clips = {name: Clip(file, 0, name, *span) for name, span in spans.items()}
    whole = Clip(file, 0, "whole")
    listed = list_clips(listed_twice(tmp_path, file))
    listed = type(listed)(("a", "b"), type(listed.train)((*clips.values(), whole)), listed.test)
    settings = listed_twice(tmp_path, file)
    done = prepare_clips(
        settings,
        listed,
        tmp_path,
        tmp_path / "prepared" / "mine",
        Wanted("raw"),
        jobs=1,
        timeout=60,
        decoder="pyav",
    )
    assert [key[0] for key in done.failed] == ["late"] and "after the last frame" in done.failed[
        "late", 5.0, 6.0
    ].reason
    data = open_data(settings, 0)
    data = type(data)(
        settings,
        ("a", "b"),
        (),
        type(data.train)("train", (*clips.values(), whole)),
        data.validation,
        data.test,
    )
    cache = open_prepared(data)
    assert cache is not None
    for name in "xyzw":
        clip = clips[name]
        assert clip.start is not None and clip.stop is not None
        with open_clip(clip, "pyav", cache) as video, open_video(file, "pyav") as plain:
            first, end = plain.frame_range(clip.start, clip.stop)
            assert video.name == "prepared" and video.frame_range(clip.start, clip.stop) == (0, end - first)
            np.testing.assert_array_equal(video.frames(range(end - first)), plain.frames(range(first, end)))
    assert cache.find(Clip(file, 0, "x", 0.1, 0.6)) is None  # another span of that name
    assert cache.find(Clip(file, 0, "x")) is None and cache.find(clips["late"]) is None
    with open_clip(whole, "pyav", cache) as video:
        assert video.frame_count == 10


def test_coding_refuses_other_sizes() -> None:
    frame = numbered_frames(1)[0]
    for how in (FrameFormat(kind="raw", quality=None), FrameFormat()):
        data = encode_frame(frame, how)
        assert decode_frame(data, 48, 64, how).shape == (48, 64, 3)
        with pytest.raises((ValueError, OSError)):
            decode_frame(data, 48, 65, how)


@pytest.mark.parametrize("quality", [30, 90, 100])
def test_jpegs_have_pillows_pixels(quality: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever library decodes them; odd sizes have half a pixel of colour at their edge."""
    for height, width in ((48, 64), (33, 51), (1, 7), (240, 427)):
        frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        data = encode_frame(frame, FrameFormat(quality=quality))
        pillow = np.asarray(Image.open(io.BytesIO(data)))
        assert torch.ops.image.decode_jpeg
        np.testing.assert_array_equal(decode_jpeg(data), pillow)
        with monkeypatch.context() as without:
            without.setattr(torch.ops, "image", object())
            np.testing.assert_array_equal(decode_jpeg(data), pillow)
    for broken in (b"", b"no jpeg", data[:20]):
        with pytest.raises((ValueError, OSError)):
            decode_jpeg(broken)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_the_videos(workers: int, folder: Path) -> None:
    """Exactly, with raw frames: the same draws, the same crops, in training and in tests of several views."""
    prepare(folder, Wanted("raw"))
    settings = config_of(folder, sampling=Sampling(frames=4), views=Views(temporal=2, spatial=3))
    data = open_data(settings, 0)
    cache = open_prepared(data)
    assert cache is not None
    for train in (True, False):
        manifest = data.train if train else data.test
        options: dict[str, Any] = {"size": 32, "batch_size": 2, "seed": 3, "train": train}
        plain = Loader(manifest, settings, workers=0, **options)
        fast = Loader(manifest, settings, workers=workers, prepared=cache, **options)
        for epoch in (0, 1):
            for a, b in zip(plain.epoch(epoch), fast.epoch(epoch), strict=True):
                assert torch.equal(a.clips, b.clips) and torch.equal(a.indices, b.indices)
        fast.close()


def test_prepared_clips_need_no_decoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(folder)
    data = open_data(config_of(folder), 0)
    cache = open_prepared(data)
    monkeypatch.setattr("petl_bench.data.prepared.open_video", None)  # whoever decodes fails
    options: dict[str, Any] = {"size": 32, "batch_size": 4, "seed": 3, "train": True, "workers": 0}
    (batch,) = Loader(data.train, config_of(folder), prepared=cache, **options).epoch(0)
    assert len(batch.labels) == 4 and not batch.unreadable


def test_the_handle_is_small_and_opens_nothing(folder: Path) -> None:
    prepare(folder)
    data = open_data(config_of(folder), 0)
    cache = open_prepared(data)
    assert cache is not None
    before = set(os.listdir("/proc/self/fd"))
    copy = pickle.loads(pickle.dumps(cache))
    assert len(pickle.dumps(cache)) < 1500 + 100 * len(cache)
    for clip in data.train.clips:
        assert copy.find(clip) == cache.find(clip) is not None
    with open_clip(data.train.clips[0], "pyav", copy) as video:
        video.frames([0])
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 1
    assert set(os.listdir("/proc/self/fd")) == before and copy.sha256 == cache.sha256
