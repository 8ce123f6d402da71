"""Making a prepared cache: every frame of every clip decoded once, in processes that may crash or hang.

Each process appends to shards of its own; what it wrote of a clip counts once this process has noted it. So a kill
loses the clips that are under way, and two processes never write to one file. One at a time works on a folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from petl_bench.data.blame import DecodeError, decoded
from petl_bench.data.cache_journal import Failed, Held, Journal, Key, check_folder, key_of
from petl_bench.data.decode import decoder_version, frames_in_order, open_video
from petl_bench.data.frame_coding import FrameFormat, shrunk
from petl_bench.data.isolated import Outcome, run_isolated
from petl_bench.data.listed import Listed
from petl_bench.data.locking import locked
from petl_bench.data.manifest import Clip
from petl_bench.data.prepared import CacheCard, file_state, range_of, unique
from petl_bench.data.shards import Placed, PreparedVideo, ShardError, ShardWriter, WriteError
from petl_bench.data.skips import read_skips, without_skips
from petl_bench.dataset_config import DatasetConfig
from petl_bench.errors import UserError

PUBLISH_SECONDS = 60.0  # between two writes of the index: training that begins meanwhile uses what is done

Told = Callable[[str, int, int, int], None]  # what is done, done, total, failed
Make = Callable[[Clip], "Made"]


@dataclass(frozen=True)
class Made:
    """What became of a clip: where it lies, or why it does not; `full` is set where nothing can be written."""

    placed: Placed | None = None
    state: tuple[int, int] = (-1, 0)
    reason: str = ""
    full: str = ""


@dataclass(frozen=True)
class Wanted:
    """Frames as the user asked for them; None: as the cache has them, or the default."""

    kind: str | None = None
    quality: int | None = None
    short_side: int | None = None

    def format(self, there: FrameFormat | None, folder: Path) -> FrameFormat:
        """Raises UserError for a cache that is in another format."""
        base = there or FrameFormat()
        kind = self.kind or base.kind
        quality = None if kind == "raw" else self.quality or base.quality or FrameFormat().quality
        how = FrameFormat.model_validate(
            {"kind": kind, "quality": quality, "short_side": self.short_side or base.short_side}
        )
        if there is not None and how != there:
            raise UserError(
                f"{folder} holds frames as {there.text}, not as {how.text}. Pass --again to replace them, or --out "
                "for another folder."
            )
        return how


@dataclass(frozen=True)
class Prepared:
    """What a run of `prepare` did."""

    folder: Path
    card: CacheCard
    made: int
    seconds: float
    failed: dict[Key, Failed] = field(default_factory=dict)
    broken: dict[Key, str] = field(default_factory=dict)  # what --verify found
    skipped: int = 0  # on the skip list
    missing: int = 0  # without a file
    unclear: int = 0  # frames of an older version that may be of either of two files


def prepare_clip(clip: Clip, folder: Path, how: FrameFormat, decoder: str) -> Made:
    """Append all frames of a clip to a shard of this process."""
    state = file_state(clip.path)
    try:
        placed = decoded(partial(_prepare, clip, folder, how, decoder))
    except DecodeError as error:
        if isinstance(error.__cause__, WriteError):
            return Made(full=str(error.__cause__))
        return Made(reason=str(error).removeprefix(f"{clip.path}: "))
    if file_state(clip.path) != state:
        return Made(reason="the file changed while it was read")
    return Made(placed, state)


def _prepare(clip: Clip, folder: Path, how: FrameFormat, decoder: str) -> Placed:
    with open_video(clip.path, decoder) as video:
        first, end = range_of(video, clip)
        frames = (shrunk(frame, how.short_side) for frame in frames_in_order(video, clip.path, first, end))
        return _writer(folder).write(frames, video.times()[first:end], how)


def _name(clip: Clip) -> str:
    return str(clip.path)


_writers: dict[Path, ShardWriter] = {}  # of this process, which serves one folder


def _writer(folder: Path) -> ShardWriter:
    return _writers.setdefault(folder, ShardWriter(folder))


def verify_clip(held: Held, folder: Path, how: FrameFormat) -> str:
    """Read every byte of a prepared clip; why it is broken, or ""."""
    try:
        with closing(PreparedVideo(folder, held.placed, how)) as video:
            video.check()
    except ShardError as error:
        return str(error)
    return ""


def prepare_clips(
    config: DatasetConfig,
    listed: Listed,
    root: Path,
    folder: Path,
    wanted: Wanted,
    *,
    jobs: int,
    timeout: float,
    decoder: str = "auto",
    again: bool = False,
    verify: bool = False,
    told: Told = lambda task, done, total, failed: None,
    make: Make | None = None,
) -> Prepared:
    """Prepare the clips of a data set that are not in the cache or whose video changed; failed ones are tried again.

    Args:
        listed: its clips; those on the skip list are left out.
        root: the folder of the data set.
        folder: of the cache; made if it is not there.
        jobs: processes at once.
        timeout: seconds for one clip.
        again: forget what is there.
        verify: read all that is there first; what is broken is prepared again.
        make: what a process does with a clip, instead of `prepare_clip`.

    Raises:
        UserError: the folder holds something else or cannot be written, the disk is full, the cache is in another
            format.
    """
    begin = time.monotonic()
    check_folder(folder)
    version = decoder_version(decoder)
    skips = read_skips(config, root)
    there = unique((*listed.train.clips, *listed.test.clips))
    clips = without_skips(there, skips, listed.shared_ids)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", lambda: told("waiting for another process", 0, len(clips), 0)):
            journal = Journal.cleared(folder) if again else Journal(folder)
            how = wanted.format(journal.format, folder)
            unclear = journal.adopt(there, listed.shared_ids)
            journal.begin(how)
            work = _Work(config, folder, how, clips, journal, version, jobs, timeout, told)
            with closing(journal):
                broken = work.verify() if verify else {}
                function = make or partial(prepare_clip, folder=folder, how=how, decoder=decoder)
                made, card = work.make(function)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}. Choose another folder with --out."
        ) from None
    failed = {key: journal.failed[key] for key in map(key_of, clips) if key in journal.failed}
    missing = len(unique((*listed.train.missing, *listed.test.missing)))
    took = time.monotonic() - begin
    return Prepared(folder, card, made, took, failed, broken, len(there) - len(clips), missing, unclear)


@dataclass(frozen=True)
class _Work:
    """The clips of a cache and how they are made; under the lock of its folder."""

    config: DatasetConfig
    folder: Path
    how: FrameFormat
    clips: Sequence[Clip]
    journal: Journal
    decoder: str  # name and version
    jobs: int
    timeout: float
    told: Told

    def verify(self) -> dict[Key, str]:
        """Which prepared clips are broken, and why. They are noted as such, to be prepared again."""
        keys, broken = list(self.journal.held), {}
        function = partial(verify_clip, folder=self.folder, how=self.how)
        items = [self.journal.held[key] for key in keys]
        with closing(run_isolated(function, items, jobs=self.jobs, timeout=self.timeout)) as outcomes:
            for done, (position, outcome) in enumerate(outcomes, start=1):
                reason = outcome.reason or outcome.value or ""
                if reason:
                    broken[keys[position]] = reason
                    self.journal.note(keys[position], Failed("broken", f"in the cache: {reason}"))
                self.told("verify", done, len(keys), len(broken))
        return broken

    def make(self, function: Make) -> tuple[int, CacheCard]:
        """Prepare what is not there; how many clips were made, and the card. What is done is kept, also on Ctrl-C."""
        todo = [clip for clip in self.clips if not self._is_there(clip)]
        total, made, failed, tried = len(self.clips), 0, 0, 0
        self.told("prepare", total - len(todo), total, 0)
        published = time.monotonic()
        try:
            with closing(
                run_isolated(function, todo, jobs=self.jobs, timeout=self.timeout, name=_name)
            ) as outcomes:
                for tried, (position, outcome) in enumerate(outcomes, start=1):
                    what = self._what(outcome)
                    self.journal.note(key_of(todo[position]), what)
                    made += isinstance(what, Held)
                    failed += isinstance(what, Failed)
                    self.told("prepare", total - len(todo) + tried, total, failed)
                    if time.monotonic() - published > PUBLISH_SECONDS:
                        self._publish(complete=False)
                        published = time.monotonic()
        except BaseException:
            with suppress(OSError):  # a full disk is told by what filled it
                self._publish(complete=False)
            raise
        return made, self._publish(complete=tried == len(todo))

    def _publish(self, complete: bool) -> CacheCard:
        return self.journal.publish(self.config.name, len(self.clips), complete)

    def _is_there(self, clip: Clip) -> bool:
        held = self.journal.held.get(key_of(clip))
        return held is not None and (held.bytes, held.mtime_ns) == file_state(clip.path)

    def _what(self, outcome: Outcome[Made]) -> Held | Failed:
        made = outcome.value
        if made is None:
            return Failed(outcome.state, outcome.reason)
        if made.full:
            raise UserError(
                f"Frames cannot be written to {self.folder}: {made.full}. What is prepared is kept: make room and run "
                "the same again, or choose another folder with --out."
            )
        if made.placed is None:
            return Failed("broken", made.reason)
        return Held(*made.state, self.decoder, made.placed)
