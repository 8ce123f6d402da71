"""From run configs to run folders: what is done is kept, what was interrupted goes on, the rest is trained."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import FrameType

import torch

from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.compiler import check_compiler
from petl_bench.config import RunConfig
from petl_bench.data import VideoData, expect_workers, open_data
from petl_bench.data.decode import decoder_name
from petl_bench.data.prepared import prepared_text
from petl_bench.display import Display, Passes
from petl_bench.errors import UserError
from petl_bench.method import make_method
from petl_bench.plan_text import counted, plan_text
from petl_bench.records import RunRecord
from petl_bench.results import RunFolder
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.readability import MAX_UNREADABLE, Readability
from petl_bench.train.run_settings import differences
from petl_bench.train.scribe import Scribe


class Interrupted(Exception):
    """The user asked to stop; checkpoints are written."""


@dataclass(frozen=True)
class Options:
    """Where and how to run. On one device nothing here changes a number but times."""

    out: Path = Path("results")
    device: str = "auto"
    workers: int | None = None
    decoder: str = "auto"
    test: bool = True  # touch the test split after the last step
    overwrite: bool = False
    max_unreadable: float = (
        MAX_UNREADABLE  # share of a pass's clips that may be left out before the run fails
    )
    display: Display = field(default_factory=Display)


def choose_device(name: str) -> torch.device:
    """ "auto": the GPU where there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: not a device. Use cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: not supported. Use cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"--device {name}: torch sees {torch.cuda.device_count()} GPUs here. Use --device cpu."
        )
    return device


def run_all(configs: list[RunConfig], options: Options) -> list[RunRecord]:
    """Run what is not done yet, in lockstep where data, recipe, backbone and seed agree.

    Returns:
        the records of all configs, in their order.

    Raises:
        UserError: bad input; a finished run with other settings in the same folder; clips that cannot be read.
        MachineError: a disk, memory or a limit that fails; what was trained is kept.
        Interrupted: after SIGINT or SIGTERM; what was trained is kept.
    """
    device = choose_device(options.device)
    todo = [c for c in configs if not _is_done(c, options)]
    decoder_name(options.decoder)
    if any(c.recipe.compile for c in todo):
        check_compiler(device)
    for c in todo:
        make_method(c.method.name, c.method.settings)
    workers = options.workers if options.workers is not None else _default_workers(device)
    if todo and workers:
        expect_workers()
    with _stop_on_signals() as stop:
        # what is missing is found before time is spent on what is there: data on disk, weights, data to be rendered
        on_disk = [c for c in todo if c.dataset.source.kind != "synth"]
        data = _open_all(on_disk, options, stop)
        backbones = {}
        for config in dict.fromkeys(c.backbone for c in todo):
            stop()
            backbones[config] = load_backbone(config)
        data |= _open_all([c for c in todo if c.dataset.source.kind == "synth"], options, stop)
        for c in todo:  # not before: an error above must cost no results
            _make_room(c, options)
        for _, group in groupby(sorted(todo, key=_group_order(todo)), key=_group_key):
            runs = list(group)
            backbone = backbones[runs[0].backbone].to(device)
            _run_group(runs, data[_data_key(runs[0])], backbone, workers, options, stop)
    records = [RunFolder.of(options.out, c).read_record() for c in configs]
    return [r for r in records if r is not None]


def _data_key(config: RunConfig) -> str:
    return f"{config.recipe.validation} {config.dataset.model_dump_json()}"


def _open_all(configs: list[RunConfig], options: Options, stop: _Stop) -> dict[str, VideoData]:
    tick = _preparing(options.display, stop)
    firsts = {_data_key(c): c for c in configs}
    opened = {}
    for key, c in firsts.items():
        data = opened[key] = open_data(c.dataset, c.recipe.validation, tick)
        if data.notice:
            options.display.say(f"{c.dataset.name}: {data.notice}")
    return opened


def _group_key(config: RunConfig) -> str:
    parts = (config.dataset, config.recipe, config.backbone)
    return json.dumps([config.suite, config.seed, *(p.model_dump(mode="json") for p in parts)])


def _group_order(configs: list[RunConfig]) -> Callable[[RunConfig], int]:
    first: dict[str, int] = {}
    for c in configs:
        first.setdefault(_group_key(c), len(first))
    return lambda c: first[_group_key(c)]


def _is_done(config: RunConfig, options: Options) -> bool:
    folder = RunFolder.of(options.out, config)
    record = folder.read_record()
    if record is None:
        return False
    if options.overwrite:
        return False
    if changed := ", ".join(differences(record.config, config)[:4]):
        raise UserError(
            f"{folder.path} holds a run with other settings ({changed}). Choose another --out or --suite, "
            "or pass --overwrite to replace it."
        )
    return record.status == "done"


def _make_room(config: RunConfig, options: Options) -> None:
    """Remove what a run that starts again would stumble over; a run that was stopped midway goes on."""
    folder = RunFolder.of(options.out, config)
    record = folder.read_record()
    if record is None:
        return
    if options.overwrite:
        if record.status != "running" or differences(record.config, config):
            for file in (folder.record_file, folder.checkpoint_file, folder.log_file, folder.adapter_file):
                file.unlink(missing_ok=True)
    elif record.status == "failed":
        folder.checkpoint_file.unlink(missing_ok=True)


def _run_group(
    configs: list[RunConfig], data: VideoData, backbone: VideoViT, workers: int, options: Options, stop: _Stop
) -> None:
    first, display = configs[0], options.display
    stop()
    device = next(backbone.parameters()).device
    lockstep = Lockstep(
        configs,
        options.out,
        data,
        backbone,
        workers=workers,
        decoder=options.decoder,
        display=display,
        stop=stop,
        overwrite=options.overwrite,
        readability=Readability(options.max_unreadable, display.say),
    )
    display.say(
        f"{first.suite}: {first.dataset.name}, seed {first.seed}, {first.backbone.name}: "
        f"{counted(len(configs), 'method')} in lockstep, {counted(first.recipe.epochs, 'epoch')} on {device}"
    )
    peaks = [t.peak for t in lockstep.trainees]
    held_out = len(data.validation.clips)
    display.say(plan_text(len(data.train.clips), lockstep.steps_per_epoch, lockstep.steps, peaks, held_out))
    if text := prepared_text(data, lockstep.prepared):
        display.say(text)
    scribe = Scribe(lockstep, options.decoder)
    try:
        for t in list(lockstep.trainees):
            with lockstep.failing_alone(t):
                scribe.begin(t)
        with backbone.held_in(lockstep.precision):  # from here on nobody copies weights of it
            lockstep.train()
            metrics, unreadable = lockstep.test() if options.test else ({}, set())
        for t in list(lockstep.trainees):
            with lockstep.failing_alone(t):
                scribe.finish(t, metrics.get(t.label), unreadable)
    finally:
        for t in lockstep.all:
            if t.error:
                scribe.fail(t)


def _preparing(display: Display, stop: _Stop) -> Callable[[int, int, str], None]:
    passes = Passes(display)

    def tick(done: int, total: int, text: str) -> None:
        stop()
        passes(text, done, total)

    return tick


def _default_workers(device: torch.device) -> int:
    import os

    cores = os.cpu_count() or 1
    return min(8, max(1, cores - 1)) if device.type == "cuda" else min(4, cores // 2)


class _Stop:
    """Raises Interrupted where it is called, once a signal has come."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> None:
        if self.asked:
            raise Interrupted


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """SIGINT and SIGTERM end the loop at the next step; a second one ends the process at once."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    old = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
