"""Decoding of every clip of a data set before training does, in processes that may crash or hang.

Every frame of a clip is decoded in order, as `datasets prepare` does; of a clip that is a span of a long file, those of
the span. Then those are asked for that training and tests would jump to: the frames of all temporal test views, and for
training clips those of two training draws.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from petl_bench.data.blame import DecodeError, decoded
from petl_bench.data.decode import decoder_version, frames_in_order, open_video
from petl_bench.data.finder import relative_name
from petl_bench.data.isolated import Outcome, run_isolated
from petl_bench.data.listed import Listed
from petl_bench.data.manifest import Clip
from petl_bench.data.sampling import train_indices, view_indices
from petl_bench.data.skips import Checked, Skip, SkipList, read_skips, skip_file, write_skips
from petl_bench.dataset_config import DatasetConfig, Sampling
from petl_bench.errors import UserError
from petl_bench.machine import errors_of_machine
from petl_bench.provenance import now
from petl_bench.results import write_atomic

DRAWS = 2  # training draws that are decoded
SAVE_SECONDS = 30.0  # between two writes of what is known, the work that a kill can lose
SKIPPED = ("broken", "crashed", "timeout")


@dataclass(frozen=True)
class Job:
    """What a process is asked to decode."""

    clip: Clip
    train: bool


@dataclass(frozen=True)
class Probe:
    """What decoding a clip showed: its frames and seconds, their size in pixels; "" or why it failed."""

    frames: int = 0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the report.

    path: below the folder of the data set; for a span of a long file with its seconds.
    state: ok, broken (the decoder says so), crashed or timeout (the decoder ended, or did not), missing.
    """

    split: str
    id: str
    path: str
    state: str
    frames: int
    seconds: float
    width: int
    height: int
    bytes: int
    mtime_ns: int
    reason: str


Key = tuple[str, str]  # split, id
Told = Callable[[int, int, int], None]  # done, total, not ok
Function = Callable[[Job], Probe]


@dataclass(frozen=True)
class Report:
    """What a check found, and where it is written."""

    results: dict[Key, Result]
    file: Path
    skip_file: Path

    @property
    def counts(self) -> Counter[str]:
        return Counter(result.state for result in self.results.values())


def probe_clip(job: Job, sampling: Sampling, temporal: int, decoder: str = "auto") -> Probe:
    """Decode every frame of a clip, then those that training and testing would jump to."""
    try:
        return decoded(partial(_probe, job.clip, job.train, sampling, temporal, decoder))
    except DecodeError as error:
        return Probe(reason=str(error).removeprefix(f"{job.clip.path}: "))


def _probe(clip: Clip, train: bool, sampling: Sampling, temporal: int, decoder: str) -> Probe:
    with open_video(clip.path, decoder) as video:
        first, end, seconds = 0, video.frame_count, _seconds(clip.path)
        if clip.start is not None and clip.stop is not None:
            first, end = video.frame_range(clip.start, clip.stop)
            seconds = clip.stop - clip.start
        length, height, width = end - first, 0, 0
        for frame in frames_in_order(video, clip.path, first, end):
            height, width = frame.shape[:2]
        wanted = set(view_indices(length, sampling, temporal).ravel().tolist())
        for draw in range(DRAWS if train else 0):
            wanted |= set(train_indices(length, sampling, np.random.default_rng(draw)).tolist())
        ordered = sorted(wanted)
        for start in range(0, len(ordered), sampling.frames):  # no more in memory than training holds
            video.frames([first + index for index in ordered[start : start + sampling.frames]])
    return Probe(length, round(seconds, 3), width, height)


def _seconds(file: Path) -> float:
    """The duration that the container tells; 0 where it tells none."""
    with av.open(str(file)) as container:
        return float(container.duration or 0) / float(av.time_base)


def check_clips(
    config: DatasetConfig,
    listed: Listed,
    root: Path,
    *,
    jobs: int,
    timeout: float,
    decoder: str = "auto",
    again: bool = False,
    told: Told = lambda done, total, bad: None,
    probe: Function | None = None,
) -> Report:
    """Check every clip of a data set; write the report and the skip list.

    What an earlier check knows of a file of the same size and date is kept. Both files are written now and
    then and at the end, also on Ctrl-C.

    Args:
        listed: its clips.
        root: its folder.
        jobs: processes at once.
        timeout: seconds for one clip.
        again: check all clips, whatever is known.
        told: called with (done, total, clips that are not ok).
        probe: what a process does with a clip, instead of `probe_clip`.

    Raises:
        MachineError: a clip cannot be read for an error of the machine; nothing is said of it in either file.
    """
    checked = Checked(
        sampling=config.sampling,
        temporal_views=config.views.temporal,
        decoder=decoder_version(decoder),
        every_frame=True,
    )
    function: Function = probe or partial(
        probe_clip, sampling=config.sampling, temporal=config.views.temporal, decoder=decoder
    )
    book = _Book(config, root, checked, dict(_missing(listed, root)), _names(listed))
    splits = {"train": listed.train.clips, "test": listed.test.clips}
    blanks = {(s, clip.id): _blank(s, clip, root) for s, clips in splits.items() for clip in clips}
    known = {} if again else book.read()
    clip_of = {(s, clip.id): clip for s, clips in splits.items() for clip in clips}
    for key, blank in blanks.items():
        if key in known and _same_file(known[key], blank):
            book.results[key] = known[key]
    todo = [key for key in blanks if key not in book.results]
    items = [Job(clip_of[key], key[0] == "train") for key in todo]
    total = len(blanks)
    bad = sum(book.results[key].state != "ok" for key in blanks if key in book.results)
    told(total - len(todo), total, bad)
    saved = time.monotonic()
    try:
        with closing(run_isolated(function, items, jobs=jobs, timeout=timeout, name=_name)) as outcomes:
            for done, (position, outcome) in enumerate(outcomes, start=total - len(todo) + 1):
                result = _result(blanks[todo[position]], outcome)
                book.results[todo[position]] = result
                bad += result.state != "ok"
                told(done, total, bad)
                if time.monotonic() - saved > SAVE_SECONDS:
                    book.write(complete=False)
                    saved = time.monotonic()
    finally:
        files = book.write(complete=all(key in book.results for key in blanks))
    return Report(book.results, *files)


def _name(job: Job) -> str:
    return str(job.clip.path)


class _Book:
    """What is known of the clips, on disk and in memory."""

    def __init__(
        self,
        config: DatasetConfig,
        root: Path,
        checked: Checked,
        results: dict[Key, Result],
        names: dict[Key, str],
    ) -> None:
        self.config, self.root, self.checked, self.results, self.names = config, root, checked, results, names
        self.former = read_skips(config, root)

    def read(self) -> dict[Key, Result]:
        """The results of an earlier check that decoded the same."""
        skips = self.former
        if skips is None or skips.checked != self.checked:
            return {}
        file = report_file(skip_file(self.config, self.root), self.config.name)
        try:
            with errors_of_machine(file), file.open(encoding="utf-8", newline="") as lines:
                rows = [_row(row) for row in csv.DictReader(lines)]
        except FileNotFoundError:
            return {}
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise UserError(f"{file} cannot be read: {error}. Delete it to check all clips again.") from None
        return {(row.split, row.id): row for row in rows}

    def write(self, complete: bool) -> tuple[Path, Path]:
        # what was skipped stays so until it is checked again: clips of another official split are not listed now
        known = {name for key in self.results for name in (self.names[key], key[1])}  # ids: of older versions
        former = self.former.clips if self.former else {}
        skipped = {name: skip for name, skip in former.items() if name not in known}
        for key, r in self.results.items():
            if r.state in SKIPPED:
                skip = Skip.model_validate({"state": r.state, "reason": r.reason, "bytes": r.bytes})
                skipped[self.names[key]] = skip
        skips = SkipList(
            dataset=self.config.name, date=now(), complete=complete, checked=self.checked, clips=skipped
        )
        file = write_skips(self.config, self.root, skips)
        report = report_file(file, self.config.name)
        out = io.StringIO()
        names = [field.name for field in fields(Result)]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(result, name) for name in names] for result in self.results.values())
        write_atomic(report, out.getvalue())
        return report, file


def report_file(skips: Path, name: str) -> Path:
    """The report beside a skip list."""
    return skips.with_name(f"petl_bench_check_{name}.csv")


def _row(row: dict[str, str]) -> Result:
    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    return Result(**{field.name: kinds[str(field.type)](row[field.name]) for field in fields(Result)})


def _blank(split: str, clip: Clip, root: Path) -> Result:
    try:
        status = os.stat(clip.path)
        size, mtime = status.st_size, status.st_mtime_ns
    except OSError:
        size, mtime = -1, 0
    path = relative_name(clip.path, root)
    if clip.start is not None:
        path += f" {clip.start:g}..{clip.stop:g} s"
    return Result(split, clip.id, path, "", 0, 0.0, 0, 0, size, mtime, "")


def _names(listed: Listed) -> dict[Key, str]:
    splits = (("train", listed.train), ("test", listed.test))
    return {(split, clip.id): clip.name for split, files in splits for clip in files.all}


def _missing(listed: Listed, root: Path) -> Iterator[tuple[Key, Result]]:
    for split, files in (("train", listed.train), ("test", listed.test)):
        for clip in files.missing:
            yield (split, clip.id), replace(_blank(split, clip, root), state="missing", reason="no such file")


def _same_file(known: Result, now_: Result) -> bool:
    return (known.bytes, known.mtime_ns, known.path) == (now_.bytes, now_.mtime_ns, now_.path)


def _result(blank: Result, outcome: Outcome[Probe]) -> Result:
    if outcome.value is None:
        return replace(blank, state=outcome.state, reason=outcome.reason)
    p = outcome.value
    state = "broken" if p.reason else "ok"
    return replace(
        blank,
        state=state,
        frames=p.frames,
        seconds=p.seconds,
        width=p.width,
        height=p.height,
        reason=p.reason,
    )
