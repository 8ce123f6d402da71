"""Prepared frames: those of the videos, whatever happens to the process, the cache and the videos."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from publishers import config
from typer.testing import CliRunner
from video_files import all_frames, barred_frames, numbered_frames, read_number, write_file

from petl_bench.backbone import load_backbone
from petl_bench.cli import app
from petl_bench.config import RunConfig
from petl_bench.data import Clip, Loader, dataset_state, open_data
from petl_bench.data.decode import DecodeError, decoder_version, open_video
from petl_bench.data.frame_coding import FrameFormat, decode_frame, encode_frame, shrunk
from petl_bench.data.prepare import Made, Prepared, Wanted, prepare_clip, prepare_clips
from petl_bench.data.prepared import cache_folder, open_clip, open_prepared, read_card
from petl_bench.data.shards import ShardError, ShardWriter
from petl_bench.data.skips import Checked, Skip, SkipList, write_skips
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import DatasetConfig, Sampling, Views
from petl_bench.errors import UserError
from petl_bench.report.conditions import numerics
from petl_bench.report.runs import Run
from petl_bench.results import RunFolder
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.run import Interrupted, Options, run_all

FILES = ("train/a/1", "train/a/2", "train/b/1", "train/b/2", "test/a/1", "test/b/1")
AS_USUAL = Wanted()
SHAPES = [(48, 64, 24), (41, 63, 20), (64, 40, 1), (48, 64, 9), (50, 70, 33), (48, 64, 12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of clips of several sizes, two of odd numbers of pixels."""
    for seed, (name, (height, width, length)) in enumerate(zip(FILES, SHAPES, strict=True)):
        frames = numbered_frames(length, height, width, seed=seed)
        pixels = "yuv444p" if height % 2 else "yuv420p"
        write_file(tmp_path / f"{name}.mp4", frames, preset="ultrafast", g="8", pixels=pixels)
    return tmp_path


def _config(root: Path, **fields: Any) -> DatasetConfig:
    return config("folders", root, 2, **fields)


def _prepare(root: Path, wanted: Wanted = AS_USUAL, out: Path | None = None, **options: Any) -> Prepared:
    settings = options.pop("config", None) or _config(root)
    defaults: dict[str, Any] = {"jobs": 1, "timeout": 60.0, "decoder": "pyav"}
    place = out or root / "prepared" / "mine"
    return prepare_clips(settings, list_clips(settings), root, place, wanted, **{**defaults, **options})


def _psnr(a: Any, b: Any) -> float:
    error = np.mean((np.float64(a) - np.float64(b)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def interrupted(clip: Clip, folder: Path, how: FrameFormat, log: str, at: str, do: str) -> Made:
    """Notes what it was asked for; at one clip something happens to its process."""
    with Path(log).open("a") as out:
        out.write(clip.id + "\n")
    if clip.id == at and do == "wait":
        time.sleep(600)
    made = prepare_clip(clip, folder, how, "pyav")
    if clip.id == at and do == "crash":  # after it has written, before it has answered
        os.kill(os.getpid(), signal.SIGSEGV)
    return Made(full=os.strerror(errno.ENOSPC)) if clip.id == at and do == "full" else made


def _interrupted(root: Path, log: Path, at: str = "", do: str = "") -> Any:
    place = root / "prepared" / "mine"
    return partial(interrupted, folder=place, how=FrameFormat(), log=str(log), at=at, do=do)


# -- frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_frames_are_those_of_the_videos(kind: str, decoder: str, folder: Path) -> None:
    done = _prepare(folder, Wanted(kind), decoder=decoder)
    assert (done.made, done.card.clips, done.failed, done.card.complete) == (6, 6, {}, True)
    data = open_data(_config(folder), 0)
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
                assert 30 < _psnr(frames, source[indices]) < 60
            assert [
                np.argmin([np.abs(np.float64(s) - f).mean() for s in source]) for f in frames[:3]
            ] == indices[:3]
            for span in ((0.0, 0.5), (0.2, 1.0), (0.0, 100.0)):
                assert video.frame_range(*span) == plain.frame_range(*span)


def test_better_quality_is_closer_and_larger(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = []
    for quality in (50, 90, 95):
        out = tmp_path_factory.mktemp("out")
        card = _prepare(folder, Wanted(quality=quality), out).card
        data = open_data(_config(folder, prepared=str(out)), 0)
        clip = data.train.clips[0]
        with open_clip(clip, "pyav", open_prepared(data)) as video:
            found.append((card.bytes, _psnr(video.frames(range(24)), all_frames(clip.path))))
    assert found == sorted(found) and found[0][1] + 1 < found[2][1]


def test_turned_videos_and_many_frames(tmp_path: Path) -> None:
    """A video that decord leaves to PyAV, longer than what is decoded at a time, in one group of pictures."""
    for name, turn in (("train/a/1", 90), ("train/b/1", 0), ("test/a/1", 180)):
        write_file(tmp_path / f"{name}.mp4", barred_frames(200), turn=turn, g="250", preset="ultrafast")
    _prepare(tmp_path, decoder="decord")
    data = open_data(_config(tmp_path), 0)
    for clip in (*data.train.clips, *data.test.clips):
        with open_clip(clip, "decord", open_prepared(data)) as video:
            frames = video.frames(range(200))
        assert frames.shape[1:] == all_frames(clip.path).shape[1:]
        if clip.id == "train/b/1.mp4":
            assert [read_number(frame) for frame in frames] == list(range(200))
        assert _psnr(frames, all_frames(clip.path)) > 25


def test_large_frames_are_shrunk(folder: Path) -> None:
    _prepare(folder, Wanted("raw", short_side=32))
    data = open_data(_config(folder), 0)
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
    listed = list_clips(_listed(tmp_path, file))
    listed = type(listed)(("a", "b"), type(listed.train)((*clips.values(), whole)), listed.test)
    settings = _listed(tmp_path, file)
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


def _listed(root: Path, file: Path) -> DatasetConfig:
    (root / "train.txt").write_text(f"{file.name} 0\n{file.name} 1\n")
    (root / "test.txt").write_text(f"{file.name} 0\n")
    return config("list", root, 2)


def test_coding_refuses_other_sizes() -> None:
    frame = numbered_frames(1)[0]
    for how in (FrameFormat(kind="raw", quality=None), FrameFormat()):
        data = encode_frame(frame, how)
        assert decode_frame(data, 48, 64, how).shape == (48, 64, 3)
        with pytest.raises((ValueError, OSError)):
            decode_frame(data, 48, 65, how)


# -- the loader --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_the_videos(workers: int, folder: Path) -> None:
    """Exactly, with raw frames: the same draws, the same crops, in training and in tests of several views."""
    _prepare(folder, Wanted("raw"))
    settings = _config(folder, sampling=Sampling(frames=4), views=Views(temporal=2, spatial=3))
    data = open_data(settings, 0)
    cache = open_prepared(data)
    assert cache is not None
    for train in (True, False):
        manifest = data.train if train else data.test
        options: dict[str, Any] = {"size": 32, "batch_size": 2, "seed": 3, "train": train}
        plain = Loader(manifest, settings, workers=0, **options)
        for file in folder.glob("t*/*/*.mp4"):  # no video is read
            assert file.stat().st_size
        fast = Loader(manifest, settings, workers=workers, prepared=cache, **options)
        for epoch in (0, 1):
            for a, b in zip(plain.epoch(epoch), fast.epoch(epoch), strict=True):
                assert torch.equal(a.clips, b.clips) and torch.equal(a.indices, b.indices)
        fast.close()


def test_prepared_clips_need_no_decoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _prepare(folder)
    data = open_data(_config(folder), 0)
    cache = open_prepared(data)
    monkeypatch.setattr("petl_bench.data.prepared.open_video", None)  # whoever decodes fails
    options: dict[str, Any] = {"size": 32, "batch_size": 4, "seed": 3, "train": True, "workers": 0}
    (batch,) = Loader(data.train, _config(folder), prepared=cache, **options).epoch(0)
    assert len(batch.labels) == 4 and not batch.unreadable


def test_the_handle_is_small_and_opens_nothing(folder: Path) -> None:
    _prepare(folder)
    data = open_data(_config(folder), 0)
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


# -- making it ---------------------------------------------------------------------------------------


def test_clips_that_break_hang_and_crash(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = (folder / "train/a/1.mp4").read_bytes()
    (folder / "train/a/cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    (folder / "train/b/text.mp4").write_text("not a video")
    os.mkfifo(folder / "train/b/hangs.mp4")  # whoever opens it waits for ever
    log = tmp_path_factory.mktemp("log") / "log"
    told: list[tuple[str, int, int, int]] = []
    make = _interrupted(folder, log, "train/b/2.mp4", "crash")
    done = _prepare(folder, make=make, jobs=2, timeout=3.0, told=lambda *now: told.append(now))
    states = {key[0]: failed.state for key, failed in done.failed.items()}
    assert states == {
        "train/a/cut.mp4": "broken", "train/b/text.mp4": "broken", "train/b/hangs.mp4": "timeout",
        "train/b/2.mp4": "crashed",
    }  # fmt: skip
    assert told[0] == ("prepare", 0, 9, 0) and told[-1] == ("prepare", 9, 9, 4)
    assert (done.card.clips, done.card.failed, done.card.listed, done.card.complete) == (5, 4, 9, True)
    failures = (done.folder / "failed.csv").read_text()
    assert "SIGSEGV" in failures and "time limit" in failures and "train/a/1.mp4" not in failures
    data = open_data(_config(folder), 0)
    cache = open_prepared(data)
    assert cache is not None
    prepared = {c.id for c in (*data.train.clips, *data.test.clips) if cache.find(c)}
    assert prepared == {f"{name}.mp4" for name in FILES} - {"train/b/2.mp4"}
    by_id = {clip.id: clip for clip in data.train.clips}
    with open_clip(by_id["train/b/2.mp4"], "pyav", cache) as video:  # fine, but for what happened
        assert video.name == "pyav"
    with pytest.raises(DecodeError, match=r"text\.mp4"), open_clip(by_id["train/b/text.mp4"], "pyav", cache):
        pass
    (folder / "train/b/hangs.mp4").unlink()
    log.write_text("")
    again = _prepare(folder, make=_interrupted(folder, log))  # what failed is tried again, and nothing else
    assert set(log.read_text().split()) == {"train/a/cut.mp4", "train/b/text.mp4", "train/b/2.mp4"}
    assert again.made == 1 and len(again.failed) == 2


def test_what_a_failed_clip_wrote_is_taken_back(folder: Path) -> None:
    """One that ends too soon, that goes on too long, whose frames change their size midway."""
    writer, frames = ShardWriter(folder), numbered_frames(6)
    how, times = FrameFormat(kind="raw", quality=None), np.arange(6.0)
    first = writer.write(frames, times, how)
    for bad, message in (
        (frames[:5], "frame 5 of 6 cannot be decoded"),
        ([*frames, frames[0]], "more than 6 frames"),
        ([*frames[:5], frames[0][:10]], "frame 5 is 64 x 10, the first 64 x 48"),
    ):
        with pytest.raises(ValueError, match=message):
            writer.write(bad, times, how)
    second = writer.write(frames[::-1], times, how)
    writer.close()
    assert second.shard == first.shard and second.stored == first.stored
    assert (folder / first.shard).stat().st_size == 2 * first.stored == 2 * (frames.nbytes + first.length)


def kept(root: Path) -> set[str]:
    lines = (root / "prepared" / "mine" / "clips.jsonl").read_text().splitlines()[1:]
    return {json.loads(line)["id"] for line in lines}


def test_a_kill_loses_the_clip_under_way_alone(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    code = (
        "import sys; from pathlib import Path; import test_data_prepare as t\n"
        "if __name__ == '__main__':\n"
        "    root, log = map(Path, sys.argv[1:])\n"
        "    t._prepare(root, make=t._interrupted(root, log, 'train/b/2.mp4', 'wait'))\n"
    )
    script = tmp_path_factory.mktemp("script") / "script.py"
    script.write_text(code)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(log)], env={**os.environ, "PYTHONPATH": path}
    )
    end = time.monotonic() + 60
    while not (log.exists() and "train/b/2.mp4" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    asked = log.read_text().split()
    assert kept(folder) == {*asked} - {"train/b/2.mp4"} and len(asked) == len({*asked}) == 4 + 2 - 2
    with (folder / "prepared" / "mine" / "clips.jsonl").open("a") as journal:
        journal.write('{"id": "tor')  # and a line was under way
    log.write_text("")
    done = _prepare(folder, make=_interrupted(folder, log))
    assert {*log.read_text().split()} == {f"{name}.mp4" for name in FILES} - ({*asked} - {"train/b/2.mp4"})
    assert done.card.clips == 6 and done.card.complete
    _assert_whole(folder, 6)


def _assert_whole(root: Path, count: int) -> None:
    data = open_data(_config(root), 0)
    cache = open_prepared(data)
    assert cache is not None and len(cache) == count
    for clip in (*data.train.clips, *data.test.clips):
        video = cache.open(clip)
        if video is not None:
            with closing(video):
                video.check()
                assert _psnr(video.frames(range(video.frame_count)), all_frames(clip.path)) > 30


def test_stopped_by_ctrl_c_it_goes_on(folder: Path) -> None:
    def stop(task: str, done: int, total: int, failed: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _prepare(folder, told=stop)
    assert "partly prepared" in dataset_state(_config(folder)).state
    assert "3 of 6 clips (jpeg quality 90)" in dataset_state(_config(folder)).state
    _assert_whole(folder, 3)  # training uses what there is
    assert _prepare(folder).made == 3
    _assert_whole(folder, 6)
    assert _prepare(folder).made == 0


def prepare_there(root: Path, made: Any) -> None:
    made.put(_prepare(root).made)


def test_two_at_once_share_the_work(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    made = context.Queue()
    processes = [context.Process(target=prepare_there, args=(folder, made)) for _ in range(2)]
    for process in processes:
        process.start()
    counts = sorted(made.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    assert counts == [0, 6]
    _assert_whole(folder, 6)


def test_a_full_disk_is_told_and_costs_nothing(folder: Path, tmp_path: Path) -> None:
    make = _interrupted(folder, tmp_path / "log", "train/b/1.mp4", "full")
    with pytest.raises(UserError, match=r"cannot be written.*No space left.*What is prepared is kept"):
        _prepare(folder, make=make)
    assert kept(folder) == {"train/a/1.mp4", "train/a/2.mp4"}
    _assert_whole(folder, 2)
    assert _prepare(folder).made == 4


def test_a_disk_that_is_really_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the writer: files may not grow past a limit here, which is an OSError as well."""
    import resource

    from petl_bench.data import prepare as module

    settings = _config(folder)
    (clip, *_) = list_clips(settings).train.clips
    writers: dict[Path, ShardWriter] = {}
    monkeypatch.setattr(module, "_writers", writers)
    former, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, former[1]))
        made = prepare_clip(clip, folder, FrameFormat(kind="raw", quality=None), "pyav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert made.full == os.strerror(errno.EFBIG) and made.placed is None
    writers[folder].close()
    assert [shard.stat().st_size for shard in folder.glob("shard-*")] == [0]  # nothing half-written


def test_the_skip_list_is_obeyed(folder: Path) -> None:
    settings = _config(folder)
    size = (folder / "train/a/1.mp4").stat().st_size
    checked = Checked(sampling=Sampling(), temporal_views=1, decoder="x")
    skips = {"train/a/1.mp4": Skip(state="broken", reason="x", bytes=size)}
    write_skips(
        settings, folder, SkipList(dataset="mine", date="", complete=True, checked=checked, clips=skips)
    )
    done = _prepare(folder)
    assert done.made == done.card.listed == 5 and "train/a/1.mp4" not in kept(folder)


# -- what can go wrong with it -----------------------------------------------------------------------


def _clip_and_cache(root: Path) -> tuple[Clip, Any, Path, Any]:
    data = open_data(_config(root), 0)
    clip, cache = data.train.clips[0], open_prepared(data)
    assert cache is not None
    found = cache.find(clip)
    assert found is not None
    return clip, cache, cache.folder / found.shard, found


@pytest.mark.parametrize("what", ["frame", "table", "cut", "gone", "grown"])
def test_a_corrupt_shard_never_gives_wrong_frames(what: str, folder: Path) -> None:
    _prepare(folder, Wanted("raw"))
    clip, cache, shard, found = _clip_and_cache(folder)
    data = bytearray(shard.read_bytes())
    begin = found.table + found.length - found.stored
    frame_bytes = 48 * 64 * 3
    if what == "frame":
        data[begin + 3 * frame_bytes + 100] ^= 1  # one bit of frame 3
    elif what == "table":
        data[found.table + 20] ^= 1
    shard.write_bytes(data[: begin + frame_bytes * 4] if what == "cut" else data + b"x" * (what == "grown"))
    if what == "gone":
        shard.unlink()
    source = all_frames(clip.path)
    with open_clip(clip, "pyav", cache) as video:
        assert video.frame_count == 24
        np.testing.assert_array_equal(video.frames([2, 3]), source[[2, 3]])  # from the video
    if what == "frame":
        with closing(cache.open(clip)) as video:
            np.testing.assert_array_equal(video.frames([2]), source[[2]])
            with pytest.raises(ShardError, match="not those that were written"):
                video.frames([3])
    elif what != "grown":
        with pytest.raises(ShardError), closing(cache.open(clip)) as video:
            video.check()
    # nobody looks without --verify; with it, what is broken is prepared again
    assert _prepare(folder, Wanted("raw")).made == 0
    done = _prepare(folder, Wanted("raw"), verify=True)
    lost = {key[0] for key in done.broken}
    assert done.made == len(lost) and (("train/a/1.mp4" in lost) == (what != "grown"))
    if what in ("frame", "table"):
        assert lost == {"train/a/1.mp4"}
    assert not _prepare(folder, Wanted("raw"), verify=True).broken
    _assert_whole(folder, 6)


def test_spans_fall_back_to_their_part_of_the_video(tmp_path: Path) -> None:
    file = write_file(tmp_path / "long.mp4", barred_frames(24), g="8")
    settings = _listed(tmp_path, file)
    clip = Clip(file, 0, "x", 1.0, 1.5)
    listed, data = list_clips(settings), open_data(settings, 0)
    listed = type(listed)(("a", "b"), type(listed.train)((clip,)), listed.test)
    prepare_clips(
        settings, listed, tmp_path, tmp_path / "prepared/mine", Wanted(), jobs=1, timeout=60, decoder="pyav"
    )
    cache = open_prepared(
        type(data)(settings, (), (), type(data.train)("train", (clip,)), data.test, data.test)
    )
    assert cache is not None
    found = cache.find(clip)
    assert found is not None and found.frames == 6
    shard = cache.folder / found.shard
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8", b"\xff\xd7"))
    with open_clip(clip, "pyav", cache) as video:
        assert [read_number(frame) for frame in video.frames([0, 5, 2])] == [12, 17, 14]


def test_a_changed_video_is_not_served(folder: Path) -> None:
    _prepare(folder)
    data = open_data(_config(folder), 0)
    old = open_prepared(data)
    assert old is not None
    os.utime(folder / "train/a/1.mp4", (1, 1))
    write_file(folder / "train/b/1.mp4", numbered_frames(30, 64, 40))
    cache = open_prepared(data)
    assert cache is not None and len(cache) == 4 and cache.sha256 != old.sha256
    lost = [clip.id for clip in data.train.clips if cache.find(clip) is None]
    assert lost == ["train/a/1.mp4", "train/b/1.mp4"]
    assert _prepare(folder).made == 2
    _assert_whole(folder, 6)


def test_a_moved_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    _prepare(folder)
    data = open_data(_config(folder), 0)
    before = open_prepared(data)
    there = tmp_path_factory.mktemp("else") / "where"
    shutil.move(folder / "prepared" / "mine", there)
    assert open_prepared(data) is None and cache_folder(_config(folder)) is None
    moved = open_prepared(open_data(_config(folder, prepared=str(there)), 0))
    assert moved is not None and before is not None
    assert len(moved) == 6 and moved.sha256 == before.sha256 and moved.folder == there
    assert _prepare(folder, out=there).made == 0
    shutil.move(there, folder / "prepared" / "mine")
    root = tmp_path_factory.mktemp("root") / "data"  # videos and cache together; dates are kept
    shutil.move(folder, root)
    _assert_whole(root, 6)


def test_switched_off_and_named_wrongly(folder: Path) -> None:
    _prepare(folder)
    for value in ("off", False):
        settings = _config(folder, prepared=value)
        assert settings.prepared == "off" and open_prepared(open_data(settings, 0)) is None
        assert "prepared" not in dataset_state(settings).state
    gone = open_data(_config(folder, prepared=str(folder / "nowhere")), 0)
    with pytest.raises(UserError, match=r"no .*nowhere/prepared\.json.*datasets prepare mine --out"):
        open_prepared(gone)


def test_a_folder_that_is_only_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    from petl_bench.data.prepared import cache_places

    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PETL_BENCH_DATA", str(home))
    assert cache_places(_config(folder), folder)[0] == folder / "prepared" / "mine"
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))
    place = cache_places(_config(folder), folder)[0]
    assert place == home / "mine" / "prepared" / "mine"
    _prepare(folder, out=place)
    _assert_whole(folder, 6)


def test_broken_files_of_the_cache_are_named(folder: Path) -> None:
    done = _prepare(folder)
    data = open_data(_config(folder), 0)
    index = done.folder / done.card.index
    content = bytearray(index.read_bytes())
    content[200] ^= 1
    index.write_bytes(content)
    with pytest.raises(UserError, match=rf"{index.name} cannot be read: its checksum is wrong"):
        open_prepared(data)
    assert _prepare(folder).made == 0  # written again from what is there
    _assert_whole(folder, 6)
    for text in (
        "{",
        "{}",
        json.dumps({**json.loads((done.folder / "prepared.json").read_text()), "version": 9}),
    ):
        (done.folder / "prepared.json").write_text(text)
        with pytest.raises(UserError, match=r"prepared\.json cannot be read"):
            open_prepared(data)
        assert "not usable" in dataset_state(_config(folder)).state
    journal = done.folder / "clips.jsonl"
    journal.write_text(journal.read_text().replace('"frames"', '"fraems"', 1))
    with pytest.raises(UserError, match=r"clips\.jsonl, line 2, cannot be read.*--again"):
        _prepare(folder)
    assert _prepare(folder, again=True).made == 6
    _assert_whole(folder, 6)


def test_another_format_needs_again(folder: Path) -> None:
    old = _prepare(folder)
    assert _prepare(folder, Wanted(quality=90)).made == 0
    for wanted in (Wanted(quality=80), Wanted("raw"), Wanted(short_side=40)):
        with pytest.raises(UserError, match=r"holds frames as jpeg quality 90, not as .*--again"):
            _prepare(folder, wanted)
    new = _prepare(folder, Wanted("raw", short_side=40), again=True)
    assert new.made == 6 and read_card(new.folder).format.text == "raw, short side 40"
    assert _prepare(folder).made == 0
    left = {path.name for path in new.folder.glob("shard-*.bin")}
    assert left == set(new.card.shards) and not left & set(old.card.shards)
    assert {p.name for p in new.folder.iterdir()} == left | {
        ".lock", "clips.jsonl", "failed.csv", "prepared.json", new.card.index
    }  # fmt: skip


# -- training ----------------------------------------------------------------------------------------


def _lockstep(settings: RunConfig, out: Path, **options: Any) -> Lockstep:
    data = open_data(settings.dataset, settings.recipe.validation)
    return Lockstep([settings], out, data, load_backbone(settings.backbone), **options)


def _stop_after(looks: int) -> Any:
    left = iter(range(looks))

    def stop() -> None:
        if next(left, None) is None:
            raise Interrupted

    return stop


def test_the_record_tells_and_a_resumed_run_notices(
    tmp_path: Path, data_folder: Path, small_runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_DATA", str(tmp_path / "data"))
    (settings,) = small_runs("linear_probe", changes=("recipe.epochs=1",))
    (off,) = small_runs("linear_probe", changes=("recipe.epochs=1", "dataset.prepared=off"))
    name, out = settings.dataset.name, tmp_path / "out"
    with pytest.raises(Interrupted):  # it begins without prepared frames
        _lockstep(settings, out, stop=_stop_after(3)).train()
    root = tmp_path / "data" / name
    place = root / "prepared" / name
    listed = list_clips(settings.dataset)
    options: dict[str, Any] = {"jobs": 1, "timeout": 60, "decoder": "pyav"}
    part = type(listed)(listed.class_names, type(listed.train)(listed.train.clips[:40]), listed.test)
    prepare_clips(settings.dataset, part, root, place, AS_USUAL, **options)
    message = r"the prepared frames .*dataset\.prepared=off.* changed since"
    with pytest.raises(UserError, match=message):
        _lockstep(settings, out)
    _lockstep(off, out)  # goes on as it was begun
    (plain,) = run_all([off], Options(out, workers=0))
    assert plain.status == "done" and plain.provenance and plain.provenance.prepared is None

    with pytest.raises(Interrupted):  # one that begins with them
        _lockstep(settings, tmp_path / "with", stop=_stop_after(3)).train()
    for now_ in (off, settings):
        if now_ is settings:  # and then there are more
            prepare_clips(settings.dataset, listed, root, place, AS_USUAL, **options)
        with pytest.raises(UserError, match=message):
            _lockstep(now_, tmp_path / "with")
    (record,) = run_all([settings], Options(tmp_path / "all", workers=0))
    assert record.provenance and record.provenance.prepared and record.metrics
    prepared = record.provenance.prepared
    assert prepared.format == "jpeg quality 90" and prepared.clips == {
        "train": 48,
        "validation": 16,
        "test": 32,
    }
    assert prepared.decoders == [decoder_version("pyav")] and len(prepared.sha256) == 64
    assert run_all([off], Options(tmp_path / "all", workers=0))[0] == record  # done is done
    os.utime(listed.test.clips[0].path, (1, 1))
    cache = open_prepared(open_data(settings.dataset, 0.25))
    assert cache is not None and cache.sha256 != prepared.sha256
    assert "prepared as jpeg quality 90" in numerics(Run(record, RunFolder(out), ""))["decoder"]


# -- the command -------------------------------------------------------------------------------------


def _petl(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["datasets", *arguments])
    if isinstance(result.exception, UserError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_command(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "train/b/text.mp4").write_text("not a video")
    yaml = tmp_path_factory.mktemp("config") / "mine.yaml"
    yaml.write_text(
        f"summary: x\nclasses: 2\nroot: {folder}\nsource: {{kind: folders}}\nbackbone: tiny_clip\n"
        "recipe: {epochs: 1, batch_size: 4}\n"
    )
    code, text = _petl("prepare", str(yaml), "--jobs", "1", "--decoder", "pyav", "--quality", "95")
    assert code == 0 and "6 clips prepared (jpeg quality 95)" in text and "1 failed" in text
    assert "text.mp4" in text and str(folder / "prepared" / "mine") in text and "by itself" in text
    card = read_card(folder / "prepared" / "mine")
    assert f"{card.bytes:,} bytes" in text
    out = tmp_path_factory.mktemp("out") / "cache"
    code, text = _petl("prepare", str(yaml), "--out", str(out), "--jobs", "1", "--format", "raw", "-q")
    assert code == 0 and f"--set dataset.prepared={out}" in text
    code, text = _petl("prepare", str(yaml), "--jobs", "1", "--verify", "-q")
    assert code == 0 and "0 of them now" in text
    for flags, message in (
        (["--format", "png"], "png"),
        (["--format", "raw", "--quality", "90"], "--quality is of JPEG"),
        (["--quality", "80"], "holds frames as jpeg quality 95"),
        (["--out", str(folder)], "no prepared cache"),
        (["--out", "/proc/x"], "cannot be written"),
        (["--set", "recipe.epochs=1"], "place in --set"),
        (["--set", "dataset.prepared=off"], "dataset.prepared is off"),
        (["--decoder", "x"], "decoder"),
    ):
        code, text = _petl("prepare", str(yaml), *flags)
        assert code == 2 and message in text, (flags, text)
