"""How long a lockstep takes with which threads and workers, alone on the machine and beside a process that computes.

    python tests/speed/threads.py [--rounds 2] [--clips 160] [--busy 1] [--out results/speed/threads_cpu.json]

Whole runs of `petl-bench run` as users start them, eight methods, tiny backbone, in turn; seconds are those of training
in the records, the smallest of the rounds. Threads that wait for each other spin for a while before they sleep:
`unset` is what GNU OpenMP does where nobody says anything, `passive` not at all, all others the 1,000 rounds that
petl-bench sets (GOMP_SPINCOUNT). `default` is what the command chooses by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from measured import machine, write
from suite import kinetics_like

from petl_bench.suite import PAPER_METHODS


def spin() -> None:
    """Keeps a core busy."""
    while True:
        pass


def settings() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name -> options, and variables of the environment."""
    cores = os.cpu_count() or 1
    out: dict[str, tuple[list[str], dict[str, str]]] = {"default": ([], {})}
    for threads in sorted({1, cores // 2 or 1, cores}):
        for workers in sorted({0, 1, cores // 2}):
            options = ["--threads", str(threads), "--workers", str(workers)]
            out[f"{threads} threads, {workers} workers"] = (options, {})
    last = list(out)[-1]
    out[f"{last}, unset"] = (options, {"GOMP_SPINCOUNT": "300000"})
    out[f"{last}, passive"] = (options, {"OMP_WAIT_POLICY": "passive"})
    return out


def seconds(data: list[str], options: list[str], environment: dict[str, str]) -> float:
    """Seconds of training of a run."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "petl_bench", "run", *data, *options, "--out", out, "--quiet"]
        env = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        subprocess.run(
            [*command, "--device", "cpu"], env={**env, **environment}, check=True, stdout=subprocess.DEVNULL
        )
        records = [json.loads(f.read_text()) for f in Path(out).rglob("record.json")]
    return max(float(r["provenance"]["lockstep_seconds"]) for r in records)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--busy", type=int, default=1, help="processes that compute beside")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    methods = ["--methods", ",".join(PAPER_METHODS)]
    small = [f"--set=recipe.{c}" for c in ("batch_size=8", "epochs=1", "validation=0")]
    source = [f"--set=dataset.source.{c}" for c in (f"train_clips={args.clips}", "test_clips=16")]
    with tempfile.TemporaryDirectory() as folder:
        file = str(kinetics_like(Path(folder), args.clips // 2))
        data = {
            "rendered": ["--suite", "demo", *methods, *small, *source],
            "Kinetics size": ["--dataset", file, "--backbone", "tiny_clip", *methods, *small],
        }
        seconds(data["rendered"], [], {})  # renders
        taken: dict[tuple[str, str], list[float]] = {}
        for _, busy in itertools.product(range(args.rounds), sorted({0, args.busy})):
            beside = [multiprocessing.Process(target=spin, daemon=True) for _ in range(busy)]
            for process in beside:
                process.start()
            for (clips, given), (name, how) in itertools.product(data.items(), settings().items()):
                column = f"{clips} s{', busy' if busy else ''}"
                taken.setdefault((name, column), []).append(seconds(given, *how))
                print(f"{name:40} {column:24} {taken[name, column][-1]:.1f}", flush=True)
            for process in beside:
                process.kill()
    rows: list[dict[str, Any]] = []
    for name in settings():
        rows.append({"setting": name, **{c: min(v) for (n, c), v in taken.items() if n == name}})
    given = {"rounds": args.rounds, "clips": args.clips, "busy": args.busy}
    write({"machine": machine(torch.device("cpu")), "settings": given}, rows, args.out)


if __name__ == "__main__":
    main()
