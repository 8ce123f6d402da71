"""How a training step's time and memory grow with frames, batch, methods and clips: measured beside the law.

    python tests/speed/growth.py [--quick] [--backbone NAME] [--device auto] [--rounds 9] [--minutes 10] [--out DIR]
    python tests/speed/growth.py --device cuda --backbone clip_vit_b16 --set backbone.weights=random

Real lockstep and loader, rendered data, batches decoded in this process. Every number is the median over rounds; in
each round every condition takes its turn, in an order drawn anew, so that a busy machine disturbs all of them alike.
With `--cpu-time` the loop's clocks count CPU seconds of this process, on one thread: on a machine that others use,
its wall-clock measures the others. Writes growth_<cpu or GPU>.json, .png, .svg and .md to DIR (results/speed). No
threshold: machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from growth_figure import draw, table
from growth_laws import line_through, sum_of_parts

from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.config import RunConfig
from petl_bench.costs import MIB, count_flops
from petl_bench.data import open_data
from petl_bench.provenance import package_versions
from petl_bench.report.figure import drawing, save
from petl_bench.results import write_atomic
from petl_bench.suite import Request, expand
from petl_bench.train import clock, lockstep
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.memory import memory_source, step_memory
from petl_bench.train.run import choose_device

# in the order in which they join the lockstep
METHODS = (
    "st_adapter",
    "linear_probe",
    "prompt",
    "adapter",
    "partial",
    "temporal",
    "attentional_pooling",
    "full",
)
OVER_FRAMES = ("st_adapter", "temporal")  # attention within each frame; and over time as well
FULL: dict[str, list[int]] = {"frames": [8, 16, 32], "batch": [4, 8, 16, 32], "methods": [1, 2, 4, 8]}
QUICK: dict[str, list[int]] = {"frames": [2, 4], "batch": [2, 4], "methods": [1, 2]}


now: Callable[[], float] = time.perf_counter


def count_cpu_time() -> None:
    """From here on this script, the loop and its clocks count CPU seconds."""
    global now
    now = time.process_time
    counted = SimpleNamespace(perf_counter=time.process_time, monotonic=time.monotonic)
    clock.time = lockstep.time = counted  # type: ignore[assignment,attr-defined]


@dataclass(frozen=True)
class Turn:
    """Seconds per step of one turn."""

    wall: float
    data: float
    prefix: float
    own: dict[str, float]


class Station:
    """A lockstep that trains a few steps whenever it is its turn."""

    def __init__(self, configs: list[RunConfig], out: Path, backbone: VideoViT) -> None:
        first = configs[0]
        data = open_data(first.dataset, first.recipe.validation)
        self.lockstep = Lockstep(configs, out, data, backbone)
        self.device = self.lockstep.device
        self.frames = first.dataset.sampling.frames
        self._batches = self.lockstep._batches(0)
        self.turns: list[Turn] = []

    def turn(self, steps: int) -> Turn:
        before = {t.label: (t.spent.own, t.spent.prefix, t.spent.data) for t in self.lockstep.trainees}
        begin = now()
        for _ in range(steps):
            step, batch = next(self._batches)
            self.lockstep._step(step, batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        wall = now() - begin
        self.lockstep._read()
        spent = {t.label: (t.spent.own, t.spent.prefix, t.spent.data) for t in self.lockstep.trainees}
        own, prefix, data = (
            {label: (spent[label][i] - old[i]) / steps for label, old in before.items()} for i in range(3)
        )
        return Turn(wall / steps, max(data.values()), max(prefix.values()), own)

    def wall(self) -> float:
        return median(turn.wall for turn in self.turns)

    def memory(self) -> float:
        """MiB of a training step of the first method, as records have it."""
        t = self.lockstep.trainees[0]
        batch = next(iter(self.lockstep.loader.epoch(0)))
        self._batches = self.lockstep._batches(t.step)  # the look at a batch has ended the epoch
        loss, precision = t.objective.loss, self.lockstep.precision
        return step_memory(t.model, batch.clips, batch.labels, loss, precision)

    def held(self) -> float:
        """MiB of the weights and the optimizers' state of all methods, each storage once."""
        storages: dict[int, int] = {}
        for t in self.lockstep.trainees:
            state = [v for s in t.optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
            for tensor in (*t.model.parameters(), *t.model.backbone.parameters(), *t.model.buffers(), *state):
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        return sum(storages.values()) / MIB

    def flops(self) -> float:
        model = self.lockstep.trainees[0].model
        return float(count_flops(model, self.frames, self.lockstep.backbone.image_size))


@dataclass
class Bench:
    """What all conditions share, and the conditions that are to be measured."""

    args: argparse.Namespace
    device: torch.device
    folder: Path
    stations: dict[str, Station] = field(default_factory=dict)
    _backbones: dict[Any, VideoViT] = field(default_factory=dict)

    def add(self, key: str, methods: list[str], clips: int, batch: int, frames: int) -> Station:
        changes = [f"dataset.source.train_clips={clips}", "dataset.source.test_clips=16"]
        changes += [f"dataset.source.length={32}", f"dataset.sampling.frames={frames}", "recipe.validation=0"]
        changes += [f"recipe.batch_size={batch}", "recipe.epochs=100000", *self.args.set]
        configs = expand(Request("demo", methods, backbone=self.args.backbone, changes=changes))
        config = configs[0].backbone
        if config not in self._backbones:
            self._backbones[config] = load_backbone(config).to(self.device)
        self.stations[key] = Station(configs, self.folder / key, self._backbones[config])
        return self.stations[key]

    @contextmanager
    def as_in_training(self) -> Iterator[None]:
        """Backbones hold their weights in the precision of the training."""
        with ExitStack() as stack:
            precision = next(iter(self.stations.values())).lockstep.precision
            for backbone in self._backbones.values():
                stack.enter_context(backbone.held_in(precision))
            yield

    def measure(self, rounds: int, steps: int, minutes: float) -> int:
        """Returns how many rounds there was time for, at least three."""
        order = list(self.stations.values())
        for station in order:
            station.turn(1)  # what is first is slower
        end = time.monotonic() + 60 * minutes
        for done in range(rounds):
            if done >= 3 and time.monotonic() > end:
                return done
            random.shuffle(order)
            for station in order:
                station.turns.append(station.turn(steps))
        return rounds


def frames_panel(bench: Bench, sizes: list[int], batch: int, clips: int) -> dict[str, Any]:
    for method in OVER_FRAMES:
        for frames in sizes:
            bench.add(f"frames/{method}/{frames}", [method], clips, batch, frames)

    def figures() -> dict[str, Any]:
        out: dict[str, Any] = {"x": sizes, "batch": batch}
        for method in OVER_FRAMES:
            own = [bench.stations[f"frames/{method}/{frames}"] for frames in sizes]
            flops = [s.flops() for s in own]
            times = [s.wall() for s in own]
            out[method] = {"seconds": times, "multiply_adds": flops, "memory_mb": [s.memory() for s in own]}
            out[method]["law"] = line_through(flops, times)
            out[method]["memory_law"] = line_through(sizes, out[method]["memory_mb"])
        return out

    return {"later": figures}


def batch_panel(bench: Bench, sizes: list[int], frames: int, clips: int) -> dict[str, Any]:
    for size in sizes:
        bench.add(f"batch/{size}", ["st_adapter"], clips, size, frames)

    def figures() -> dict[str, Any]:
        own = [bench.stations[f"batch/{size}"] for size in sizes]
        times, memory = [s.wall() for s in own], [s.memory() for s in own]
        laws = {"law": line_through(sizes, times), "memory_law": line_through(sizes, memory)}
        return {"x": sizes, "frames": frames, "seconds": times, "memory_mb": memory, **laws}

    return {"later": figures}


def methods_panel(bench: Bench, sizes: list[int], batch: int, frames: int, clips: int) -> dict[str, Any]:
    names = METHODS[: max(sizes)]
    for name in names:
        bench.add(f"alone/{name}", [name], clips, batch, frames)
    for size in sizes:
        bench.add(f"methods/{size}", list(names[:size]), clips, batch, frames)

    def figures() -> dict[str, Any]:
        alone = {name: bench.stations[f"alone/{name}"] for name in names}
        together = [bench.stations[f"methods/{size}"] for size in sizes]
        frozen = sum(p.numel() * p.element_size() for p in together[0].lockstep.backbone.parameters()) / MIB
        held = {name: s.held() for name, s in alone.items()}
        return {
            "x": sizes,
            "order": list(names),
            "batch": batch,
            "frames": frames,
            "seconds": [s.wall() for s in together],
            "law": [sum_of_parts([alone[n].turns for n in names[:size]]) for size in sizes],
            "one_by_one": [sum(alone[n].wall() for n in names[:size]) for size in sizes],
            "held_mb": [s.held() for s in together],
            "held_law": [frozen + sum(held[n] - frozen for n in names[:size]) for size in sizes],
            "held_one_by_one": [sum(held[n] for n in names[:size]) for size in sizes],
        }

    return {"later": figures}


def clips_panel(bench: Bench, sizes: list[int], batch: int, frames: int) -> dict[str, Any]:
    for size in sizes:
        bench.add(f"clips/{size}", ["st_adapter"], size, batch, frames)

    def figures() -> dict[str, Any]:
        own = [bench.stations[f"clips/{size}"] for size in sizes]
        times = [s.wall() for s in own]
        epoch = [t * s.lockstep.steps_per_epoch for t, s in zip(times, own, strict=True)]
        memory = [s.memory() for s in own]
        return {
            "x": sizes,
            "batch": batch,
            "seconds": times,
            "epoch_seconds": epoch,
            "memory_mb": memory,
            "law": median(times),
        }

    return {"later": figures}


def long_run(bench: Bench, steps: int, batch: int, frames: int, clips: int) -> dict[str, Any]:
    """One run without interruption, 20 stretches of it."""
    station = bench.add("long", ["st_adapter"], clips, batch, frames)
    del bench.stations["long"]
    station.turn(2)
    parts = 20
    times = [station.turn(max(1, steps // parts)).wall for _ in range(parts)]
    first, last = median(times[: parts // 4]), median(times[-parts // 4 :])
    x = [(i + 1) * max(1, steps // parts) for i in range(parts)]
    return {"x": x, "seconds": times, "first_quarter": first, "last_quarter": last, "law": median(times)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: a proof that it runs")
    parser.add_argument("--backbone", default="tiny_clip")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, default=10, help="no new round after so many")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds, not the wall-clock")
    parser.add_argument("--steps", type=int, default=2, help="of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="as in petl-bench run")
    parser.add_argument("--shared", action="store_true", help="note that others worked on the machine")
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.cpu_time:
        count_cpu_time()
    device = choose_device(args.device)
    sizes, rounds = (QUICK, args.rounds or 2) if args.quick else (FULL, args.rounds or 9)
    clips, batch, frames = (16, 2, 2) if args.quick else (64, 4, 8)
    many = [16, 32] if args.quick else [64, 256, 1024]
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, device, Path(folder))
        panels = {
            "frames": frames_panel(bench, sizes["frames"], 2, clips),
            "batch": batch_panel(bench, sizes["batch"], frames, clips),
            "methods": methods_panel(bench, sizes["methods"], batch, frames, clips),
            "clips": clips_panel(bench, many, batch, frames),
        }
        with bench.as_in_training():
            rounds = bench.measure(rounds, args.steps, args.minutes)
            found = {name: panel["later"]() for name, panel in panels.items()}
            found["run"] = long_run(bench, 20 if args.quick else 120, batch, frames, clips)
    gpu = device.type == "cuda"
    place = torch.cuda.get_device_name(device) if gpu else "cpu"
    result = {
        "machine": {
            "device": place,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_at_the_end": os.getloadavg()[0],
            "shared_with_other_work": args.shared,
        },
        "packages": package_versions(),
        "settings": {
            "backbone": args.backbone,
            "set": args.set,
            "threads": args.threads,
            "seconds": "CPU time of the process" if args.cpu_time else "wall-clock",
            "rounds": rounds,
            "steps_of_a_turn": args.steps,
            "quick": args.quick,
            "memory": memory_source(device),
            "seconds_of_this_script": round(time.perf_counter() - begin, 1),
        },
        **found,
    }
    stem = args.out / ("growth_" + re.sub(r"[^a-z0-9]+", "_", place.lower()).strip("_"))
    write_atomic(stem.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    write_atomic(stem.with_suffix(".md"), table(result))
    with drawing():
        save(draw(result), stem)
    print(table(result))


if __name__ == "__main__":
    main()
