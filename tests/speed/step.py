"""The training step of each method: clips per second, memory and share of the device's peak, against a plain loop.

    python tests/speed/step.py --backbone clip_vit_b16 --batch 32 --out results/speed/step_gpu.json     # on a GPU
    python tests/speed/step.py --backbone tiny_clip --batch 8 --methods full,st_adapter                 # on a CPU

Random clips and weights: what is computed costs the same. `plain` is `plain_step` of plain.py; both train models of the
same method on the same frames, in turn, medians. On GPUs blocks are compiled unless --no-compile is given; what that
takes is in the column `start s`. Peak memory is the allocator's on a GPU; on a CPU it is worked out, see peak.py.
"""

from __future__ import annotations

import argparse
import copy
import gc
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measured import in_turn, machine, synchronised, write
from peak import peak_of_step
from plain import plain_optimizer, plain_step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.costs import MIB
from petl_bench.method import build, make_method
from petl_bench.suite import PAPER_METHODS, load_backbone_config

CLASSES = 174


class Ours:
    """The step of `Trainee`, with the prefix of this method alone."""

    def __init__(self, model: AdaptedViT, clips: Tensor, labels: Tensor, precision: torch.dtype) -> None:
        self.model, self.clips, self.labels, self.precision = model, clips, labels, precision
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

    def __call__(self) -> None:
        backbone = self.model.backbone
        with torch.autocast(
            self.clips.device.type, dtype=self.precision, enabled=self.precision != torch.float32
        ):
            frozen = Frozen(backbone, backbone.pixels(self.clips), backbone.shape_of(self.clips))
            logits = self.model.from_frozen(frozen)
        F.cross_entropy(logits.float(), self.labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Plain:
    def __init__(self, model: AdaptedViT, clips: Tensor, labels: Tensor, precision: torch.dtype) -> None:
        self.model, self.clips, self.labels, self.precision = model, clips, labels, precision
        self.optimizer = plain_optimizer(model)

    def __call__(self) -> None:
        pixels = self.model.backbone.pixels(self.clips)
        plain_step(self.model, self.optimizer, pixels, self.labels, self.precision)


def allocator_peak(step: Ours | Plain) -> float:
    """MiB of a step on a GPU, with the weights and whatever else is there."""
    device = step.clips.device
    step()
    synchronised(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    synchronised(device)
    return torch.cuda.max_memory_allocated(device) / MIB


def measured_peak(device: torch.device, precision: torch.dtype) -> float:
    """TFLOP/s (two for a multiply-add) of the best of several square matrix products."""
    best = 0.0
    for n in (4096, 8192) if device.type == "cuda" else (1024, 2048):
        a, b = (torch.randn(n, n, device=device, dtype=precision) for _ in range(2))
        seconds = in_turn({"mm": lambda a=a, b=b: torch.mm(a, b)}, device, 8)["mm"]  # type: ignore[misc]
        best = max(best, 2 * n**3 / seconds / 1e12)
    return best


def flops_of(eager: Plain) -> int:
    """Floating-point operations of a step, forwards and backwards, two for a multiply-add: torch's counter on an
    eager step by the plain twins."""
    with FlopCounterMode(display=False) as counter:
        eager()
    return int(counter.get_total_flops())


def speed_of(ours: Ours, plain: Plain, args: argparse.Namespace, peak: float) -> dict[str, float]:
    flops = flops_of(plain)
    seconds = in_turn({"ours": ours, "plain": plain}, args.device, args.rounds)
    return {
        "clips/s": args.batch / seconds["ours"],
        "plain clips/s": args.batch / seconds["plain"],
        "speed x": seconds["plain"] / seconds["ours"],
        "% of peak": 100 * flops / seconds["ours"] / 1e12 / peak,
    }


def random_batch(args: argparse.Namespace, size: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (args.batch, args.frames, 3, size, size), generator=g, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (args.batch,), generator=g)
    return clips.to(args.device), labels.to(args.device)


def row(label: str, backbone: VideoViT, args: argparse.Namespace, peak: float) -> dict[str, Any]:
    """What is measured of a method. Each step has a backbone of its own, and is alone when its memory is measured."""
    gpu = args.device.type == "cuda"
    memory: dict[str, float] = {}

    def made(kind: type[Ours] | type[Plain], frozen: VideoViT, batch: tuple[Tensor, Tensor]) -> Any:
        model = build(make_method(label), frozen, CLASSES, frames=args.frames).train()
        model.checkpointing = args.checkpointing if kind is Ours else 0.0
        return kind(model, *batch, args.precision)

    times: dict[str, float] = {}
    if gpu or args.rounds:
        batch = random_batch(args, backbone.image_size)
        frozen = copy.deepcopy(backbone).to(args.device)
        frozen.set_compiled(args.compile)
        ours = made(Ours, frozen, batch)
        with frozen.held_in(args.precision):
            begin = synchronised(args.device)
            ours()
            start = synchronised(args.device) - begin
            if gpu:
                memory["ours"] = allocator_peak(ours)
            plain = made(Plain, copy.deepcopy(backbone).to(args.device), batch)
            if args.rounds:
                times = {**speed_of(ours, plain, args, peak), "start s": start}
        if gpu:
            del ours, frozen
            gc.collect()
            torch.cuda.empty_cache()
            memory["plain"] = allocator_peak(plain)
    if not gpu:
        shape = (args.batch, args.frames, 3, backbone.image_size, backbone.image_size)
        given = (label, backbone.config, CLASSES, shape, args.precision)
        memory["ours"] = peak_of_step(*given, Ours, held_in=args.precision, checkpointing=args.checkpointing)
        memory["plain"] = peak_of_step(*given, Plain)
    sizes = {
        "MiB": memory["ours"],
        "plain MiB": memory["plain"],
        "memory x": memory["ours"] / memory["plain"],
    }
    return {"method": label, **times, **sizes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="tiny_clip")
    parser.add_argument("--methods", default=",".join(PAPER_METHODS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10, help="0: no times, memory alone")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--checkpointing", type=float, default=0.0, help="share of the blocks")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    gpu = args.device.type == "cuda"
    bf16 = args.precision == "bf16" or (args.precision == "auto" and gpu)
    args.precision = torch.bfloat16 if bf16 else torch.float32
    config = load_backbone_config(args.backbone)
    if config.source != "embedded":
        config = config.model_copy(update={"weights": "random"})
    backbone = load_backbone(config)
    args.compile = gpu if args.compile is None else args.compile
    peak = measured_peak(args.device, args.precision) if args.rounds else 0.0
    rows = []
    for label in args.methods.split(","):
        try:
            rows.append(row(label, backbone, args, peak))
        except torch.cuda.OutOfMemoryError:
            rows.append({"method": f"{label}: out of memory"})
        if gpu:
            torch.cuda.empty_cache()
    settings = {
        "backbone": args.backbone,
        "batch": args.batch,
        "frames": args.frames,
        "precision": str(args.precision).removeprefix("torch."),
        "compile": args.compile,
        "checkpointing": args.checkpointing,
        "rounds": args.rounds,
        **({"measured_peak_tflops": round(peak, 3)} if args.rounds else {}),
    }
    write({"machine": machine(args.device), "settings": settings}, rows, args.out)


if __name__ == "__main__":
    main()
