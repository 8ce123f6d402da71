"""The measurements of docs/speed.md, but for leaks and reports, one after the other.

    python tests/speed/all.py [--quick] [--only step_cpu,pipeline_cpu] [--out results/speed]

On a machine with a GPU at CLIP ViT-B/16 scale, elsewhere on the tiny backbone; files are named for the device. An idle
machine, please. A measurement that fails is named at the end; the others are done.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

import petl_bench  # noqa: F401  sets for the scripts how long threads spin, as for users

HERE = Path(__file__).parent


def commands(gpu: bool, quick: bool) -> dict[str, list[str]]:
    """Name of the output file -> script and its arguments."""
    device = "gpu" if gpu else "cpu"
    b16 = ["--backbone", "clip_vit_b16"]
    if gpu:
        step = [*b16, "--batch", "8" if quick else "32"]
        embedded = ["--clips", "240", "--workers", "4"]
        kinetics = [*b16, "--clips", "64" if quick else "512", "--batch", "32", "--workers", "8"]
    else:
        step = ["--batch", "8", "--threads", "1", "--rounds", "3" if quick else "15"]
        embedded = ["--clips", "48" if quick else "600"]
        kinetics = ["--clips", "16" if quick else "200"]
    few = ["--scenes", "2", "--rounds", "1"] if quick else []
    memory = [*b16, "--batch", "32", "--rounds", "0", "--precision", "bf16"]
    half, every = ["--checkpointing", "0.5"], ["--checkpointing", "1"]
    random = [*b16, "--set", "backbone.weights=random"] if gpu else []
    return {
        f"step_{device}": ["step.py", *step],
        f"step_{device}_half_checkpointing": ["step.py", *step, *half],
        f"step_{device}_checkpointing": ["step.py", *step, *every],
        **(
            {}
            if gpu
            else {
                "step_cpu_bf16": ["step.py", *step, "--precision", "bf16"],
                "step_cpu_compiled": ["step.py", *step, "--compile"],
                "step_memory_vit_b16": ["step.py", *memory],
                "step_memory_vit_b16_half_checkpointing": ["step.py", *memory, *half],
                "step_memory_vit_b16_checkpointing": ["step.py", *memory, *every],
                "peak_measured_cpu": ["peak_measured.py", *([] if quick else [*b16, "--batch", "4"])],
                "threads_cpu": ["threads.py", *(["--clips", "32", "--rounds", "1"] if quick else [])],
            }
        ),
        f"suite_embedded_{device}": ["suite.py", "--data", "embedded", *embedded],
        f"suite_kinetics_{device}": ["suite.py", "--data", "kinetics", *kinetics],
        f"pipeline_{device}": ["pipeline.py", *few],
        "decoders": ["decoders.py", *few],
        f"growth_{device}": ["growth.py", *random, *(["--quick"] if quick else [])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that everything runs")
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    parser.add_argument("--only", help="comma-separated names, such as step_cpu")
    args = parser.parse_args()
    failed = []
    for name, (script, *rest) in commands(torch.cuda.is_available(), args.quick).items():
        if args.only and name not in args.only.split(","):
            continue
        print(f"\n== {name}: python tests/speed/{script} {' '.join(rest)}", flush=True)
        out = args.out if script == "growth.py" else args.out / f"{name}.json"  # it names its files itself
        done = subprocess.run([sys.executable, HERE / script, *rest, "--out", out], check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
