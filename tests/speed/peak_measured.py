"""What peak.py works out beside the resident memory of a real step, in a process of its own for each. On Linux.

    python tests/speed/peak_measured.py --backbone clip_vit_b16 --batch 4 --out results/speed/peak_measured_cpu.json

float32, the second step of each; what the process held before the model was made is taken off.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from measured import machine, write
from peak import peak_of_step
from step import CLASSES, Ours, Plain

from petl_bench.backbone import load_backbone
from petl_bench.config import BackboneConfig
from petl_bench.method import build, make_method
from petl_bench.suite import load_backbone_config

CASES = (
    ("st_adapter", "plain", 0.0),
    ("st_adapter", "ours", 0.0),
    ("st_adapter", "ours", 0.5),
    ("st_adapter", "ours", 1.0),
    ("full", "ours", 0.0),
    ("prompt", "ours", 0.0),
    ("linear_probe", "ours", 0.0),
)
M_MMAP_THRESHOLD = -3  # of malloc.h


def status(field: str) -> float:
    """MiB of a field of /proc/self/status: VmRSS, or VmHWM, its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def measure(
    label: str, kind: type[Ours] | type[Plain], share: float, config: BackboneConfig, batch: int
) -> float:
    """MiB that a step adds to this process at its peak, weights included."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(M_MMAP_THRESHOLD, 65536)  # what is freed goes back to the system at once

    def made(config: BackboneConfig, batch: int) -> Ours | Plain:
        backbone = load_backbone(config)
        model = build(make_method(label), backbone, CLASSES).train()
        model.checkpointing = share
        clips = torch.randint(0, 256, (batch, 8, 3, *2 * [backbone.image_size]), dtype=torch.uint8)
        return kind(model, clips, torch.zeros(batch, dtype=torch.int64), torch.float32)

    made(load_backbone_config("tiny_clip"), 2)()  # libraries take memory when they are first used
    gc.collect()
    libc.malloc_trim(0)
    before = status("VmRSS")
    step = made(config, batch)
    step()
    gc.collect()
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest is this from now on
    step()
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="tiny_clip")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    config = load_backbone_config(args.backbone)
    if config.source != "embedded":
        config = config.model_copy(update={"weights": "random"})
    if args.case is not None:
        label, name, share = CASES[args.case]
        print(measure(label, Ours if name == "ours" else Plain, share, config, args.batch))
        return
    rows: list[dict[str, Any]] = []
    size = config.image_size or load_backbone(config).image_size
    for case, (label, name, share) in enumerate(CASES):
        again = [sys.executable, __file__, "--backbone", args.backbone, "--batch", str(args.batch)]
        done = subprocess.run([*again, "--case", str(case)], check=True, stdout=subprocess.PIPE, text=True)
        kind: Any = Ours if name == "ours" else Plain
        shape = (args.batch, 8, 3, size, size)
        worked_out = peak_of_step(label, config, CLASSES, shape, torch.float32, kind, checkpointing=share)
        measured = float(done.stdout)
        rows.append(
            {
                "method": label,
                "step": name,
                "checkpointing": share,
                "worked out MiB": worked_out,
                "measured MiB": measured,
                "measured / worked out": round(measured / worked_out, 3),
            }
        )
    settings = {"backbone": args.backbone, "batch": args.batch}
    write({"machine": machine(torch.device("cpu")), "settings": settings}, rows, args.out)


if __name__ == "__main__":
    main()
