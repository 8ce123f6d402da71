"""Making a prepared cache, whatever happens to the process; the command."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_clips import (
    FILES,
    assert_whole,
    config_of,
    interrupted_at,
    kept,
    prepare,
    write_clips,
)
from typer.testing import CliRunner
from video_files import numbered_frames

from petl_bench.cli import app
from petl_bench.data import dataset_state, open_data
from petl_bench.data.decode import DecodeError
from petl_bench.data.frame_coding import FrameFormat
from petl_bench.data.listed import SplitFiles
from petl_bench.data.prepare import Wanted, prepare_clip
from petl_bench.data.prepared import open_clip, open_prepared, read_card
from petl_bench.data.shards import ShardWriter
from petl_bench.data.skips import Checked, Skip, SkipList, write_skips
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import Sampling
from petl_bench.datasets_table import prepare_summary
from petl_bench.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_clips(tmp_path)


def test_clips_that_break_hang_and_crash(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = (folder / "train/a/1.mp4").read_bytes()
    (folder / "train/a/cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    (folder / "train/b/text.mp4").write_text("not a video")
    os.mkfifo(folder / "train/b/hangs.mp4")  # whoever opens it waits for ever
    log = tmp_path_factory.mktemp("log") / "log"
    told: list[tuple[str, int, int, int]] = []
    make = interrupted_at(folder, log, "train/b/2.mp4", "crash")
    done = prepare(folder, make=make, jobs=2, timeout=3.0, told=lambda *now: told.append(now))
    states = {key[0]: failed.state for key, failed in done.failed.items()}
    assert states == {
        "train/a/cut.mp4": "broken", "train/b/text.mp4": "broken", "train/b/hangs.mp4": "timeout",
        "train/b/2.mp4": "crashed",
    }  # fmt: skip
    assert told[0] == ("prepare", 0, 9, 0) and told[-1] == ("prepare", 9, 9, 4)
    assert (done.card.clips, done.card.failed, done.card.listed, done.card.complete) == (5, 4, 9, True)
    failures = (done.folder / "failed.csv").read_text()
    assert "SIGSEGV" in failures and "time limit" in failures and "train/a/1.mp4" not in failures
    data = open_data(config_of(folder), 0)
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
    again = prepare(folder, make=interrupted_at(folder, log))  # what failed is tried again, and nothing else
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


def test_a_kill_loses_the_clip_under_way_alone(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    code = (
        "import sys; from pathlib import Path; import prepared_clips as t\n"
        "if __name__ == '__main__':\n"
        "    root, log = map(Path, sys.argv[1:])\n"
        "    t.prepare(root, make=t.interrupted_at(root, log, 'train/b/2.mp4', 'wait'))\n"
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
    done = prepare(folder, make=interrupted_at(folder, log))
    assert {*log.read_text().split()} == {f"{name}.mp4" for name in FILES} - ({*asked} - {"train/b/2.mp4"})
    assert done.card.clips == 6 and done.card.complete
    assert_whole(folder, 6)


def test_stopped_by_ctrl_c_it_goes_on(folder: Path) -> None:
    def stop(task: str, done: int, total: int, failed: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, told=stop)
    assert "partly prepared" in dataset_state(config_of(folder)).state
    assert "3 of 6 clips (jpeg quality 90)" in dataset_state(config_of(folder)).state
    assert_whole(folder, 3)  # training uses what there is
    assert prepare(folder).made == 3
    assert_whole(folder, 6)
    assert prepare(folder).made == 0


def prepare_there(root: Path, made: Any) -> None:
    made.put(prepare(root).made)


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
    assert_whole(folder, 6)


def test_a_full_disk_is_told_and_costs_nothing(folder: Path, tmp_path: Path) -> None:
    make = interrupted_at(folder, tmp_path / "log", "train/b/1.mp4", "full")
    with pytest.raises(UserError, match=r"cannot be written.*No space left.*What is prepared is kept"):
        prepare(folder, make=make)
    assert kept(folder) == {"train/a/1.mp4", "train/a/2.mp4"}
    assert_whole(folder, 2)
    assert prepare(folder).made == 4


def test_a_disk_that_is_really_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the writer: files may not grow past a limit here, which is an OSError as well."""
    import resource

    from petl_bench.data import prepare as module

    settings = config_of(folder)
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
    settings = config_of(folder)
    size = (folder / "train/a/1.mp4").stat().st_size
    checked = Checked(sampling=Sampling(), temporal_views=1, decoder="x")
    skips = {"train/a/1.mp4": Skip(state="broken", reason="x", bytes=size)}
    write_skips(
        settings, folder, SkipList(dataset="mine", date="", complete=True, checked=checked, clips=skips)
    )
    done = prepare(folder)
    assert done.made == done.card.listed == 5 and "train/a/1.mp4" not in kept(folder)
    lines = [str(line) for line in prepare_summary(done, "use").renderables]
    assert "Left out, on the skip list of `petl-bench datasets check`: 1" in lines
    assert not any("without a file" in line for line in lines)


def test_clips_without_a_file_are_told(folder: Path) -> None:
    listed = list_clips(config_of(folder))
    *clips, absent = listed.train.clips
    absent.path.unlink()
    listed = replace(listed, train=SplitFiles(tuple(clips), (absent,)))
    done = prepare(folder, listed=listed)
    assert (done.made, done.missing, done.skipped) == (5, 1, 0)
    assert "Listed, but without a file: 1" in [str(line) for line in prepare_summary(done, "").renderables]


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


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path, again: bool) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("shard-00001.bin", "index-mine.npy", ".lock"):
        (other / name).write_text("not yours")
    with pytest.raises(UserError, match=r"no prepared cache \(it holds (shard-00001\.bin|index-mine\.npy)\)"):
        prepare(folder, out=other, again=again)
    assert {p.name for p in other.iterdir()} == {"shard-00001.bin", "index-mine.npy", ".lock"}
    inside = folder / "prepared" / "mine"
    prepare(folder)
    (inside / "shard-of-mine.bin").write_text("not yours")
    prepare(folder, again=again)
    assert (inside / "shard-of-mine.bin").read_text() == "not yours"


def test_the_same_frames_have_the_same_hash_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    data = open_data(config_of(folder), 0)
    hashes = set()
    for jobs in (1, 2):
        prepare(folder, jobs=jobs, again=True)
        hashes.add(open_prepared(data).sha256)  # type: ignore[union-attr]
    assert len(hashes) == 1
    prepare(folder, Wanted(quality=80), again=True)
    hashes.add(open_prepared(data).sha256)  # type: ignore[union-attr]
    assert len(hashes) == 2
