"""`datasets check` on clips that are whole, cut off, hang the decoder and crash it; what training makes of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from publishers import config
from video_files import numbered_frames, write_file

from petl_bench.data import dataset_state, open_data
from petl_bench.data.check import Job, Probe, Report, check_clips, probe_clip
from petl_bench.data.isolated import run_isolated
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import DatasetConfig
from petl_bench.errors import UserError

FRAMES = numbered_frames(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of whole clips, one cut off in the middle, one that is no video, one that says it is and hangs."""
    for name in ("train/a/1", "train/a/2", "train/b/1", "train/b/2", "test/a/1", "test/b/1"):
        write_file(tmp_path / f"{name}.mp4", FRAMES, preset="ultrafast", g="5")
    whole = (tmp_path / "train/a/1.mp4").read_bytes()
    (tmp_path / "train/a/cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "train/b/text.mp4").write_text("not a video")
    os.mkfifo(tmp_path / "train/b/hangs.mp4")  # whoever opens it waits for ever
    return tmp_path


def _config(root: Path, **fields: Any) -> DatasetConfig:
    return config("folders", root, 2, **fields)


def _check(root: Path, **options: Any) -> Report:
    settings = _config(root, **options.pop("fields", {}))
    defaults = {"jobs": 2, "timeout": 60.0}
    return check_clips(settings, list_clips(settings), root, **{**defaults, **options})


def fatal(job: Job, log: str) -> Probe:
    """Kills its process at the clip train/b/2, as a decoder with a bug does; notes what it was asked for."""
    with Path(log).open("a") as out:
        out.write(job.clip.id + "\n")
    if job.clip.id == "train/b/2.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return probe_clip(job, DatasetConfig.model_fields["sampling"].default, 1)


def text_probe(job: Job) -> Probe:
    """For clips that are text files."""
    return Probe(frames=1) if job.clip.path.read_text() == "fine" else Probe(reason="no video")


def test_clips_that_break_hang_and_crash(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    told: list[tuple[int, int, int]] = []
    probe = partial(fatal, log=str(log))
    report = _check(folder, probe=probe, timeout=3.0, told=lambda *now: told.append(now))
    states = {key[1]: result.state for key, result in report.results.items()}
    assert states == {
        "train/a/1.mp4": "ok", "train/a/2.mp4": "ok", "train/a/cut.mp4": "broken", "train/b/1.mp4": "ok",
        "train/b/2.mp4": "crashed", "train/b/hangs.mp4": "timeout", "train/b/text.mp4": "broken",
        "test/a/1.mp4": "ok", "test/b/1.mp4": "ok",
    }  # fmt: skip
    assert log.read_text().count("train/b/2.mp4") == 2  # tried again before it is given up
    assert told[0] == (0, 9, 0) and told[-1] == (9, 9, 4)
    with report.file.open(newline="") as lines:
        rows = {row["id"]: row for row in csv.DictReader(lines)}
    whole = rows["train/a/1.mp4"]
    assert (whole["frames"], whole["width"], whole["height"]) == ("20", "64", "48")
    assert float(whole["seconds"]) == pytest.approx(20 / 12, abs=0.1)
    assert int(whole["bytes"]) == (folder / "train/a/1.mp4").stat().st_size
    assert (
        "SIGSEGV" in rows["train/b/2.mp4"]["reason"] and "time limit" in rows["train/b/hangs.mp4"]["reason"]
    )
    assert rows["train/b/text.mp4"]["reason"] and not rows["train/a/1.mp4"]["reason"]
    skips = json.loads(report.skip_file.read_text())
    assert skips["complete"]
    bad = {"train/a/cut.mp4", "train/b/2.mp4", "train/b/hangs.mp4", "train/b/text.mp4"}
    assert set(skips["clips"]) == bad

    data = open_data(_config(folder), validation=0)
    assert [clip.id for clip in data.train.clips] == ["train/a/1.mp4", "train/a/2.mp4", "train/b/1.mp4"]
    assert (data.train.skipped, data.test.skipped) == (4, 0)
    assert dataset_state(_config(folder)).state.endswith(", 4 skipped")
    report.skip_file.unlink()
    unskipped = open_data(_config(folder), validation=0)
    assert unskipped.train.skipped == 0 and unskipped.sha256 != data.sha256


def test_only_what_changed_is_checked_again(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    (folder / "train/b/hangs.mp4").unlink()
    probe = partial(fatal, log=str(log))

    def asked(**options: Any) -> set[str]:
        log.write_text("")
        _check(folder, probe=probe, **options)
        return set(log.read_text().split())

    everything = asked()
    assert len(everything) == 8
    assert asked() == set()
    write_file(folder / "train/b/text.mp4", FRAMES)  # mended
    os.utime(folder / "test/a/1.mp4", (1, 1))
    now = [clip.id for clip in open_data(_config(folder), 0).train.clips]
    assert now[-1] == "train/b/text.mp4"  # its size differs from the one on the skip list
    assert asked() == {"train/b/text.mp4", "test/a/1.mp4"}
    assert open_data(_config(folder), 0).train.skipped == 2
    assert asked(fields={"sampling": {"frames": 4}}) == everything  # other frames are decoded
    assert asked(fields={"sampling": {"frames": 4}}, again=True) == everything
    write_file(folder / "train/a/new.mp4", FRAMES)
    assert asked(fields={"sampling": {"frames": 4}}) == {"train/a/new.mp4"}


def test_an_interrupted_check_goes_on(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    (folder / "train/b/hangs.mp4").unlink()

    def stop(done: int, total: int, bad: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _check(folder, jobs=1, told=stop)
    assert "partly checked" in dataset_state(_config(folder)).state
    report = _check(folder, jobs=1, probe=partial(fatal, log=str(log)))
    assert len(set(log.read_text().split())) == 8 - 3
    assert len(report.results) == 8 and json.loads(report.skip_file.read_text())["complete"]
    skipped = open_data(_config(folder), 0).train.skipped
    with pytest.raises(
        KeyboardInterrupt
    ):  # all clips again, stopped at once: none is lost from the skip list
        _check(folder, again=True, told=lambda done, total, bad: stop(3, total, bad))
    assert open_data(_config(folder), 0).train.skipped == skipped == 3


def test_missing_clips_are_reported_not_skipped(tmp_path: Path) -> None:
    write_file(tmp_path / "a.mp4", FRAMES)
    (tmp_path / "train.txt").write_text("a.mp4 0\ngone.mp4 1\n")
    (tmp_path / "test.txt").write_text("a.mp4 0\n")
    settings = config("list", tmp_path, 2)
    report = check_clips(settings, list_clips(settings), tmp_path, jobs=1, timeout=20)
    assert report.counts == {"ok": 2, "missing": 1}
    assert json.loads(report.skip_file.read_text())["clips"] == {}
    assert open_data(settings, 0).train.skipped == 1


def test_a_folder_that_is_only_read(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PETL_BENCH_DATA", str(home))
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))
    (folder / "train/b/hangs.mp4").unlink()
    report = _check(folder)
    assert report.skip_file == home / "mine" / "petl_bench_skip_mine.json"
    assert report.file.parent == home / "mine" and not list(folder.glob("petl_bench*"))
    assert open_data(_config(folder), 0).train.skipped == 2


def test_another_official_split_keeps_what_was_skipped(tmp_path: Path) -> None:
    """v_a is in the training part of split 1 and the test part of split 2, v_x in split 1 alone."""
    lists = {
        "trainlist01": "A/v_a.avi 1\nA/v_b.avi 1\nA/v_x.avi 1\nB/v_e.avi 2\n", "testlist01": "A/v_c.avi\n",
        "trainlist02": "A/v_c.avi 1\nA/v_b.avi 1\nB/v_e.avi 2\n", "testlist02": "A/v_a.avi\nA/v_d.avi\n",
    }  # fmt: skip
    (tmp_path / "ucfTrainTestlist").mkdir()
    for name, text in {"classInd": "1 A\n2 B\n", **lists}.items():
        (tmp_path / "ucfTrainTestlist" / f"{name}.txt").write_text(text)
    for letter in "abcdex":
        file = tmp_path / "UCF-101" / ("B" if letter == "e" else "A") / f"v_{letter}.avi"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("not a video" if letter in "ax" else "fine")
    splits = [config("ucf101", tmp_path, 2, source={"split": number}) for number in (1, 2)]

    def train_ids(settings: DatasetConfig) -> list[str]:
        return [clip.id[-7:] for clip in open_data(settings, 0).train.clips]

    for settings in splits:  # each in turn; each complete
        report = check_clips(settings, list_clips(settings), tmp_path, jobs=1, timeout=20, probe=text_probe)
        assert train_ids(splits[0]) == ["v_b.avi", "v_e.avi"]
        assert [clip.id[-7:] for clip in open_data(splits[1], 0).test.clips] == ["v_d.avi"]
    assert len(json.loads(report.skip_file.read_text())["clips"]) == 2
    assert dataset_state(splits[1]).state.endswith(", 1 skipped")


def test_skip_lists_of_version_1_are_read(folder: Path) -> None:
    (folder / "train/b/hangs.mp4").unlink()
    file = _check(folder).skip_file
    now = json.loads(file.read_text())
    ids = open_data(_config(folder), 0).train.clips
    file.write_text(json.dumps({**now, "version": 1, "clips": {"train": now["clips"], "test": {}}}))
    assert now["version"] == 2 and open_data(_config(folder), 0).train.clips == ids


def test_a_broken_skip_list_is_named(folder: Path) -> None:
    for text in ("{", "{}", '{"version": 1, "clips": {"train": 3}}'):
        (folder / "petl_bench_skip_mine.json").write_text(text)
        with pytest.raises(UserError, match=r"petl_bench_skip_mine\.json cannot be read"):
            open_data(_config(folder), 0)
    (folder / "petl_bench_skip_mine.json").unlink()


def test_every_frame_that_is_decoded_is_one_of_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in order, then those of the test views and of two draws; of a span, only frames of the span."""
    from petl_bench.data import check
    from petl_bench.data.manifest import Clip
    from petl_bench.dataset_config import Sampling

    asked: list[int] = []

    class Video:
        frame_count = 100

        def frame_range(self, start: float, stop: float) -> tuple[int, int]:
            return 40, 60

        def frames(self, indices: list[int]) -> Any:
            asked.extend(indices)
            return FRAMES[: len(indices)]

        def __enter__(self) -> Video:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(check, "open_video", lambda path, decoder: Video())
    monkeypatch.setattr(check, "_seconds", lambda path: 1.0)

    def in_order(video: Any, path: Path, first: int, end: int) -> list[Any]:
        assert path == tmp_path
        asked.extend(range(first, end))
        return [FRAMES[0]] * (end - first)

    monkeypatch.setattr(check, "frames_in_order", in_order)
    sampling = Sampling(frames=4)
    probe_clip(Job(Clip(tmp_path, 0, "x"), train=False), sampling, 1)
    # the middles of four quarters of 0..99, rounded towards the ends
    assert asked == [*range(100), 12, 37, 62, 87]
    asked.clear()
    probe_clip(Job(Clip(tmp_path, 0, "x", 1.0, 2.0), train=True), sampling, 1)
    assert asked[:20] == list(range(40, 60))
    assert {42, 47, 52, 57} <= set(asked[20:]) <= set(range(40, 60)) and len(asked[20:]) > 4


def sleep_first(item: tuple[str, float]) -> str:
    """Sleeps the first time that it is asked."""
    file, seconds = Path(item[0]), item[1]
    if not file.exists():
        file.touch()
        time.sleep(seconds)
    return file.name


def dies(item: int) -> int:
    os._exit(item)


def test_a_second_attempt_counts(tmp_path: Path) -> None:
    """A clip that was too slow once, on a busy machine, is not lost; the others go on meanwhile."""
    items = [(str(tmp_path / "slow"), 60.0), *((str(tmp_path / f"{i}"), 0.0) for i in range(8))]
    outcomes = dict(run_isolated(sleep_first, items, jobs=2, timeout=2.0))
    assert {outcomes[i].value for i in range(9)} == {"slow", *map(str, range(8))}


def test_dead_processes_are_replaced() -> None:
    outcomes = dict(run_isolated(dies, [3, 4, 5], jobs=2, timeout=20.0))
    assert [outcomes[i].reason for i in range(3)] == [
        f"the decoding process ended with exit code {code}" for code in (3, 4, 5)
    ]
