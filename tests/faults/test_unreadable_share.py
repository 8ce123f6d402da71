"""Clips that a pass goes without are told at its end; too many of them, or all, end the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petl_bench.cli_options import make_options
from petl_bench.config import RunConfig
from petl_bench.data import loader as loading
from petl_bench.data.blame import DecodeError
from petl_bench.display import Display
from petl_bench.errors import UserError
from petl_bench.results import RunFolder
from petl_bench.train.readability import Readability, TooManyUnreadable
from petl_bench.train.run import Options, run_all

MakeRuns = Callable[..., list[RunConfig]]
TRAIN, VALIDATION, TEST = 48, 16, 32  # clips of `small_runs`


class Heard(Display):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def break_clips(monkeypatch: pytest.MonkeyPatch, split: str, count: int, epoch: int | None = None) -> None:
    """The first clips of a split are broken, in one epoch or in all."""
    read = loading.ClipReader.read
    clips = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}

    def broken(self: loading.ClipReader, at: int, index: int) -> Any:
        if clips[len(self.clips)] == split and index < count and epoch in (None, at):
            raise DecodeError("broken")
        return read(self, at, index)

    monkeypatch.setattr(loading.ClipReader, "read", broken)


def test_each_pass_tells_what_it_went_without(
    tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config,) = small_runs("linear_probe")
    heard = Heard()
    break_clips(monkeypatch, "train", 2, epoch=1)
    (record,) = run_all([config], Options(tmp_path / "a", workers=0, display=heard))
    assert record.status == "done"
    told = [line for line in heard.lines if "cannot be read" in line]
    assert len(told) == 1
    assert told[0].startswith("train, epoch 2: 2 of 48 clips cannot be read and were left out: ")
    break_clips(monkeypatch, "test", 3)
    heard.lines.clear()
    run_all([config], Options(tmp_path / "b", workers=0, display=heard))
    told = [line.partition(" clips")[0] for line in heard.lines if "cannot be read" in line]
    passes = ("test", "test, frames reversed", "test, frames shuffled")
    assert told[-3:] == [f"{name}: 3 of 32" for name in passes]


@pytest.mark.parametrize(
    ("split", "count", "share", "says"),
    [
        ("train", 5, 0.1, r"train, epoch 1: 5 of 48 clips"),
        ("validation", 2, 0.1, r"validate: 2 of 16 clips"),
        ("test", 4, 0.1, r"test: 4 of 32 clips"),
        ("test", 1, 0.0, r"test: 1 of 32 clips .*--max-unreadable allows a share of 0"),
        ("train", TRAIN, 1.0, r"train, epoch 1: 48 of 48 clips"),
        ("test", TEST, 1.0, r"test: 32 of 32 clips"),
    ],
)
def test_too_many_end_the_run(
    split: str, count: int, share: float, says: str, tmp_path: Path, small_runs: MakeRuns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (config,) = small_runs("linear_probe")
    options = Options(tmp_path, workers=0, max_unreadable=share)
    with monkeypatch.context() as patch:
        break_clips(patch, split, count)
        with pytest.raises(TooManyUnreadable, match=says):
            run_all([config], options)
    folder = RunFolder.of(tmp_path, config)
    record = folder.read_record()
    assert record is not None and record.status == "running" and record.metrics is None
    assert folder.checkpoint_file.exists() == (
        split != "train"
    )  # no weights of a pass that went without them
    (record,) = run_all([config], options)
    assert record.status == "done" and record.metrics is not None and record.metrics.n_test == TEST
    assert record.provenance is not None and record.provenance.clips["train"].unreadable == 0


def test_what_is_allowed_is_counted(
    tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config,) = small_runs("linear_probe")
    break_clips(monkeypatch, "test", 16)
    (record,) = run_all([config], Options(tmp_path, workers=0, max_unreadable=0.5))
    assert record.metrics is not None and record.metrics.n_test == 16
    assert record.provenance is not None and record.provenance.clips["test"].unreadable == 16


@pytest.mark.parametrize(
    ("lost", "clips", "share", "fails"),
    [(0, 10, 0.0, False), (1, 10, 0.1, False), (2, 10, 0.1, True), (10, 10, 1.0, True), (9, 10, 1.0, False),
     (1, 1, 1.0, True), (3, 10, 0.3, False)],
)  # fmt: skip
def test_the_share(lost: int, clips: int, share: float, fails: bool) -> None:
    ids = [f"clip-{i}" for i in range(lost)]
    told: list[str] = []
    if fails:
        with pytest.raises(TooManyUnreadable):
            Readability(share, told.append).end("test", ids, clips)
        return
    Readability(share, told.append).end("test", ids, clips)
    assert len(told) == (1 if lost else 0)


def test_the_flag(tmp_path: Path) -> None:
    arguments = (tmp_path, "cpu", 0, "pyav", None, True, False)
    assert make_options(*arguments, 0.25).max_unreadable == 0.25
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="--max-unreadable"):
            make_options(*arguments, bad)
