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
from safetensors.torch import save as save_safetensors

from petl_bench import __version__, provenance
from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.config import RunConfig
from petl_bench.costs import profile
from petl_bench.data import VideoData, decoder_version, open_data
from petl_bench.display import Display
from petl_bench.errors import UserError
from petl_bench.records import Clips, Cost, Metrics, Provenance, RunRecord
from petl_bench.results import RunFolder, write_atomic
from petl_bench.train.evaluate import Scored
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.memory import memory_source
from petl_bench.train.trainee import Trainee


class Interrupted(Exception):
    """The user asked to stop; checkpoints are written."""


@dataclass
class Options:
    """Where and how to run: nothing here changes a number but times."""

    out: Path = Path("results")
    device: str = "auto"
    workers: int | None = None
    decoder: str = "auto"
    test: bool = True  # touch the test split after the last step
    overwrite: bool = False
    display: Display = field(default_factory=Display)


def choose_device(name: str) -> torch.device:
    """ "auto": the GPU where there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: not a device. Use cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch sees no GPU here. Use --device cpu.")
    return device


def run_all(configs: list[RunConfig], options: Options) -> list[RunRecord]:
    """Run what is not done yet, in lockstep where data, recipe, backbone and seed agree.

    Returns:
        the records of all configs, in their order.

    Raises:
        UserError: bad input; a finished run with other settings in the same folder.
        Interrupted: after SIGINT or SIGTERM; what was trained is kept.
    """
    todo = [c for c in configs if not _is_done(c, options)]
    device = choose_device(options.device)
    with _stop_on_signals() as stop:
        for _, group in groupby(sorted(todo, key=_group_order(todo)), key=_group_key):
            _run_group(list(group), device, options, stop)
    records = [RunFolder.of(options.out, c).read_record() for c in configs]
    return [r for r in records if r is not None]


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
        for file in (folder.record_file, folder.checkpoint_file, folder.log_file, folder.adapter_file):
            file.unlink(missing_ok=True)
        return False
    same = json.loads(json.dumps(record.config)) == config.model_dump(mode="json")
    if not same:
        changed = ", ".join(_differences(record.config, config.model_dump(mode="json"))[:4])
        raise UserError(
            f"{folder.path} holds a run with other settings ({changed}). Choose another --out or --suite, "
            "or pass --overwrite to replace it."
        )
    if record.status == "failed":
        folder.checkpoint_file.unlink(missing_ok=True)
    return record.status == "done"


def _differences(old: object, new: object, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in {**old, **new}
            for d in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old} there, {new} here"]


def _run_group(configs: list[RunConfig], device: torch.device, options: Options, stop: _Stop) -> None:
    first, display = configs[0], options.display
    data = open_data(first.dataset, first.recipe.validation, _preparing(display, stop))
    stop()
    backbone = load_backbone(first.backbone).to(device)
    workers = options.workers if options.workers is not None else _default_workers(device)
    lockstep = Lockstep(
        configs,
        options.out,
        data,
        backbone,
        workers=workers,
        decoder=options.decoder,
        display=display,
        stop=stop,
    )
    display.say(
        f"{first.suite}: {first.dataset.name}, seed {first.seed}, {first.backbone.name}: {len(configs)} methods in "
        f"lockstep, {len(data.train.clips)} clips x {first.recipe.epochs} epochs on {device}"
    )
    scribe = _Scribe(lockstep, data, backbone, options)
    for t in lockstep.trainees:
        scribe.begin(t)
    try:
        lockstep.train()
        if options.test:
            metrics, unreadable = lockstep.test()
        else:
            metrics, unreadable = {}, set()
    finally:
        for t in lockstep.all:
            if t.error:
                scribe.fail(t)
    for t in list(lockstep.trainees):
        scribe.finish(t, metrics.get(t.label), unreadable)


def _preparing(display: Display, stop: _Stop) -> Callable[[int, int, str], None]:
    begun: set[str] = set()

    def tick(done: int, total: int, text: str) -> None:
        stop()
        if text not in begun:
            begun.add(text)
            display.begin(text, total, done)
        display.advance(done)

    return tick


def _default_workers(device: torch.device) -> int:
    import os

    cores = os.cpu_count() or 1
    return min(8, max(1, cores - 1)) if device.type == "cuda" else min(4, cores // 2)


class _Scribe:
    """Writes the records of a lockstep."""

    def __init__(self, lockstep: Lockstep, data: VideoData, backbone: VideoViT, options: Options) -> None:
        self.lockstep, self.data, self.backbone, self.options = lockstep, data, backbone, options
        commit, dirty = provenance.git_state()
        self.base = {
            "petl_bench": __version__,
            "git_commit": commit,
            "git_dirty": dirty,
            "python": provenance.python_version(),
            "packages": provenance.package_versions(),
            "platform": provenance.platform_name(),
            "device": provenance.device_name(str(lockstep.device)),
            "threads": torch.get_num_threads(),
            "precision": str(lockstep.precision).removeprefix("torch."),
            "decoder": decoder_version(options.decoder),
            "backbone_sha256": backbone.weights_sha256(),
            "data_sha256": data.sha256,
            "companions": [t.label for t in lockstep.all],
        }

    def _record(self, t: Trainee, status: str, **more: object) -> RunRecord:
        c = t.config
        return RunRecord.model_validate(
            {
                "status": status,
                "suite": c.suite,
                "dataset": c.dataset.name,
                "label": c.method.label,
                "method": c.method.name,
                "backbone": c.backbone.name,
                "seed": c.seed,
                "order_blind": t.method.order_blind,
                "selection": c.selection,
                "config": c.model_dump(mode="json"),
                **more,
            }
        )

    def _provenance(self, t: Trainee, test_unreadable: set[str], ended: str | None) -> Provenance:
        old = t.folder.read_record()
        started = old.provenance.started if old and old.provenance else provenance.now()
        splits = {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}
        broken = {"train": t.unreadable, "validation": set(), "test": test_unreadable}
        clips = {
            name: Clips(
                used=len(m.clips) - len(broken[name]), skipped=m.skipped, unreadable=len(broken[name])
            )
            for name, m in splits.items()
        }
        return Provenance.model_validate(
            {
                **self.base,
                "clips": clips,
                "lockstep_seconds": round(t.spent.lockstep, 3),
                "started": started,
                "ended": ended,
                "sessions": t.spent.sessions,
            }
        )

    def begin(self, t: Trainee) -> None:
        t.folder.write_config(t.config)
        t.folder.write_record(self._record(t, "running", provenance=self._provenance(t, set(), None)))

    def fail(self, t: Trainee) -> None:
        t.write_log()
        ended = provenance.now()
        t.folder.write_record(
            self._record(t, "failed", error=t.error, provenance=self._provenance(t, set(), ended))
        )

    def finish(self, t: Trainee, tested: tuple[Metrics, Scored] | None, unreadable: set[str]) -> None:
        state = {k: v.detach().cpu().contiguous() for k, v in t.model.state_dict().items()}
        adapter = save_safetensors(state, metadata={"method": t.config.method.name, "label": t.label})
        write_atomic(t.folder.adapter_file, adapter)
        t.write_log()
        metrics, cost = None, None
        if tested:
            metrics, scored = tested
            cost = self._cost(t, scored, len(adapter))
        record = self._record(
            t,
            "done",
            metrics=metrics,
            cost=cost,
            provenance=self._provenance(t, unreadable, provenance.now()),
        )
        t.folder.write_record(record)
        t.folder.checkpoint_file.unlink(missing_ok=True)

    def _cost(self, t: Trainee, scored: Scored, adapter_bytes: int) -> Cost:
        dataset, spent = t.config.dataset, t.spent
        static = profile(t.model, dataset.sampling.frames, self.backbone.image_size)
        views = dataset.views.temporal * dataset.views.spatial
        compute = spent.own + spent.prefix
        step_ms = float(torch.tensor(spent.steps_ms).median()) if spent.steps_ms else 0.0
        return Cost(
            trainable_params=static.trainable_params,
            trainable_params_without_head=static.trainable_params_without_head,
            total_params=static.total_params,
            gflops_per_view=static.gflops_per_view,
            views=views,
            gflops=static.gflops_per_view * views,
            peak_memory_mb=round(spent.peak_memory_mb, 3),
            peak_memory_source=memory_source(self.lockstep.device),
            compute_seconds=round(compute, 3),
            prefix_seconds=round(spent.prefix, 3),
            data_seconds=round(spent.data, 3),
            alone_seconds=round(compute + spent.data, 3),
            step_ms=round(step_ms, 3),
            train_clips_per_second=round(1000 * t.config.recipe.batch_size / step_ms, 2) if step_ms else 0.0,
            test_clips_per_second=round(len(scored.labels) / scored.seconds, 2),
            adapter_bytes=adapter_bytes,
        )


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
