"""Data sets that the package renders: H.264 files made on first use, in parallel, safe to kill and to repeat.

A folder holds one rendering (`<task>-v<version>-seed<seed>-<size>px-<length>f/`): `train/000000.mp4`,
`test/...` and `labels.json`. A clip is a function of its place alone, so more clips later means rendering
the missing ones. A clip counts as made when its file is there (they appear whole) and its label is noted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from petl_bench import synth
from petl_bench.data.children import become_child, children_deaf_to_interrupts, one_thread
from petl_bench.data.encode import ENCODING, write_video
from petl_bench.data.locking import locked
from petl_bench.data.manifest import Clip
from petl_bench.dataset_config import SynthSource
from petl_bench.errors import UserError
from petl_bench.results import write_atomic

Progress = Callable[[int, int, str], None]
Split = Literal["train", "test"]
Place = tuple[Split, int]  # split, index
Labels = dict[Place, int]

SPLITS: tuple[Split, Split] = ("train", "test")

CHUNK = 16  # clips of one task of a rendering process: short enough for a quick end on Ctrl-C
ALONE = 8 * CHUNK  # so few clips are rendered here: starting processes would take longer
NOTE_SECONDS = 2.0  # between two writes of labels.json, the work that a kill can lose
BYTES_PER_CLIP = 16_000  # at 64 x 64 pixels and 24 frames, measured


@dataclass(frozen=True)
class Rendering:
    """The folder of one rendering."""

    source: SynthSource
    root: Path

    @property
    def name(self) -> str:
        s = self.source
        return f"{s.task}-v{synth.RENDERER_VERSION}-seed{s.seed}-{s.size}px-{s.length}f"

    @property
    def folder(self) -> Path:
        return self.root / self.name

    def file(self, place: Place) -> Path:
        return self.folder / place[0] / f"{place[1]:06d}.mp4"

    def places(self) -> list[Place]:
        """Every clip that the config asks for, in the order of the manifests."""
        train = [(SPLITS[0], index) for index in range(self.source.train_clips)]
        return train + [(SPLITS[1], index) for index in range(self.source.test_clips)]

    def read_labels(self) -> Labels:
        """What labels.json notes; nothing if it is absent, torn or of another encoding."""
        try:
            noted = json.loads((self.folder / "labels.json").read_text(encoding="utf-8"))
            if noted["encoding"] != ENCODING:
                return {}
            return {(s, int(i)): int(label) for s in SPLITS for i, label in noted[s].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write_labels(self, labels: Labels) -> None:
        noted: dict[str, object] = {"encoding": ENCODING}
        for split in SPLITS:
            noted[split] = {str(i): label for (s, i), label in sorted(labels.items()) if s == split}
        write_atomic(self.folder / "labels.json", json.dumps(noted))

    def missing(self, labels: Labels) -> list[Place]:
        """The clips that are still to be rendered."""
        made = {split: _whole_files(self.folder / split) for split in SPLITS}
        return [p for p in self.places() if p not in labels or self.file(p).name not in made[p[0]]]

    def render(self, place: Place) -> int:
        """Render one clip to its file; returns its label."""
        s = self.source
        frames, label = synth.render_video(
            s.task, place[0], place[1], size=s.size, length=s.length, seed=s.seed
        )
        write_video(self.file(place), frames)
        return int(label)


def rendered_clips(source: SynthSource, root: Path, progress: Progress | None) -> dict[str, tuple[Clip, ...]]:
    """The clips of a rendered data set, "train" and "test"; what is missing is rendered now.

    Raises:
        UserError: the folder cannot be written, or a rendering process was killed.
    """
    if source.size % 2:
        raise UserError(f"dataset.source.size is {source.size}: H.264 files need an even size.")
    rendering = Rendering(source, root)
    labels = rendering.read_labels()
    if rendering.missing(labels):
        try:
            labels = _complete(rendering, progress or (lambda done, total, text: None))
        except OSError as error:
            raise UserError(
                f"Clips cannot be rendered to {rendering.folder}: {error.strerror or error}. Choose another "
                "folder with PETL_BENCH_DATA or `--set dataset.root=FOLDER`."
            ) from None
    clips: dict[str, list[Clip]] = {"train": [], "test": []}
    for split, index in rendering.places():
        place: Place = (split, index)
        name = f"{rendering.name}/{split}/{index:06d}"
        clips[split].append(Clip(rendering.file(place), labels[place], name))
    return {split: tuple(members) for split, members in clips.items()}


def _complete(rendering: Rendering, progress: Progress) -> Labels:
    """Render what is missing, one process at a time; another one's work is waited for and used."""
    for split in SPLITS:
        (rendering.folder / split).mkdir(parents=True, exist_ok=True)
    total = len(rendering.places())

    def waiting() -> None:
        left = len(rendering.missing(rendering.read_labels()))
        progress(total - left, total, f"waiting for another process that renders {rendering.name}")

    with locked(rendering.folder / ".lock", waiting):
        labels = rendering.read_labels()
        todo = rendering.missing(labels)
        if todo:
            for torn in rendering.folder.glob("*/.*.tmp"):
                torn.unlink(missing_ok=True)
        noted = time.monotonic()
        try:
            for made in _render_all(rendering, todo):
                labels.update(made)
                todo = todo[len(made) :]
                progress(total - len(todo), total, f"rendering {rendering.name}")
                if time.monotonic() - noted > NOTE_SECONDS:
                    rendering.write_labels(labels)
                    noted = time.monotonic()
        finally:  # also on Ctrl-C: what is made is kept
            rendering.write_labels(labels)
    return labels


def _render_all(rendering: Rendering, todo: list[Place]) -> Iterator[Labels]:
    """Labels of the clips, chunk by chunk as they are made."""
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    workers = min(cores(), len(chunks))
    if workers < 2 or len(todo) <= ALONE:
        for chunk in chunks:
            with one_thread():
                made = _render_chunk(rendering, chunk)
            yield made
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=become_child)
    try:
        with children_deaf_to_interrupts():
            pending: list[Future[Labels]] = [pool.submit(_render_chunk, rendering, chunk) for chunk in chunks]
        for future in as_completed(pending):
            yield future.result()
    except BrokenProcessPool:
        raise UserError(
            "A rendering process was killed (out of memory?). What is made is kept: run the same again."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _render_chunk(rendering: Rendering, chunk: list[Place]) -> Labels:
    return {place: rendering.render(place) for place in chunk}


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _whole_files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.stat().st_size > 0}
    except (FileNotFoundError, NotADirectoryError):
        return set()
