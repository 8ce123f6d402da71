"""What a lockstep of the eight strategies costs: against its floor, and against a run of each alone.

    python tests/speed/lockstep.py [--clips 320] [--workers 0] [--threads 1] [--out FILE.json]

On `synth_motion` with the recipe of the suite `demo`, one epoch, rendered beforehand. The floor of a lockstep is the
methods' own compute, the frozen prefix once (as deep as the deepest needs it), and one pass over the data: decoded
and augmented, without any training. All of it is measured in this run, one after the other; seconds are wall-clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import torch

from petl_bench.backbone import load_backbone
from petl_bench.config import RunConfig
from petl_bench.data import Loader, open_data
from petl_bench.provenance import package_versions
from petl_bench.records import RunRecord
from petl_bench.suite import PAPER_METHODS, Request, expand
from petl_bench.train.run import Options, run_all


def data_pass(config: RunConfig, workers: int) -> float:
    """Seconds of reading every training batch of the run, and nothing else."""
    data, backbone = open_data(config.dataset, config.recipe.validation), load_backbone(config.backbone)
    options = {"size": backbone.image_size, "batch_size": config.recipe.batch_size, "seed": 0, "train": True}
    loader = Loader(data.train, config.dataset, workers=workers, **options)  # type: ignore[arg-type]
    begin = time.perf_counter()
    for epoch in range(config.recipe.epochs):
        for _ in loader.epoch(epoch):
            pass
    seconds = time.perf_counter() - begin
    loader.close()
    return seconds


def train(configs: list[RunConfig], workers: int) -> list[RunRecord]:
    with tempfile.TemporaryDirectory() as out:
        return run_all(configs, Options(Path(out), device="cpu", workers=workers))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=320)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    changes = [f"dataset.source.train_clips={args.clips}", "dataset.source.test_clips=16"]
    changes += ["recipe.epochs=1", "recipe.validation=0"]
    configs = expand(Request("demo", list(PAPER_METHODS), changes=changes))
    open_data(configs[0].dataset, 0)  # renders
    train(expand(Request("demo", ["linear_probe"], changes=changes)), args.workers)  # what is first is slower

    together = train(configs, args.workers)
    spent = {r.label: r.cost for r in together if r.cost}
    own = sum(c.compute_seconds - c.prefix_seconds for c in spent.values())
    prefix = max(c.prefix_seconds for c in spent.values())
    passed = data_pass(configs[0], args.workers)
    wall = max(r.provenance.lockstep_seconds for r in together if r.provenance)
    alone = {}
    for config in configs:
        (record,) = train([config], args.workers)
        assert record.provenance is not None
        alone[record.label] = record.provenance.lockstep_seconds
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": args.threads,
        "workers": args.workers,
        "clips": args.clips,
        "packages": package_versions(),
        "own_seconds": round(own, 2),
        "prefix_seconds": round(prefix, 2),
        "data_pass_seconds": round(passed, 2),
        "lockstep_seconds": round(wall, 2),
        "ratio_to_floor": round(wall / (own + prefix + passed), 3),
        "alone_seconds": {label: round(s, 2) for label, s in alone.items()},
        "alone_sum_over_lockstep": round(sum(alone.values()) / wall, 2),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
