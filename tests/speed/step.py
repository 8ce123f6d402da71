"""The training step of each method: clips per second, memory and share of the device's peak, against a plain loop.

    python tests/speed/step.py --backbone clip_vit_b16 --batch 32 --out results/speed/step_gpu.json     # on a GPU
    python tests/speed/step.py --backbone tiny_clip --batch 8 --methods full,st_adapter                 # on a CPU

Random clips and weights: what is computed costs the same. `plain` is `plain_step` of plain.py; both train the
same model on the same frames, in turn, medians. On GPUs blocks are compiled unless --no-compile is given; what that
takes is in the column `start s`. Peak memory is the allocator's (GPU) or what autograd keeps (CPU, as in the records).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measured import in_turn, machine, synchronised, write
from plain import plain_optimizer, plain_step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.costs import MIB, step_memory_mb
from petl_bench.kernels import set_plain
from petl_bench.method import build, make_method
from petl_bench.suite import PAPER_METHODS, load_backbone_config

CLASSES = 174


class Ours:
    """The step of `Trainee`, with the prefix of this method alone."""

    def __init__(self, model: AdaptedViT, clips: Tensor, labels: Tensor, precision: torch.dtype) -> None:
        self.model, self.clips, self.labels, self.precision = model, clips, labels, precision
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

    def __call__(self) -> None:
        model, backbone = self.model, self.model.backbone
        set_plain(model, False)
        set_plain(backbone, False)
        with torch.autocast(
            self.clips.device.type, dtype=self.precision, enabled=self.precision != torch.float32
        ):
            frozen = Frozen(backbone, backbone.pixels(self.clips), backbone.shape_of(self.clips))
            logits = model.from_frozen(frozen)
        F.cross_entropy(logits.float(), self.labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Plain:
    def __init__(self, model: AdaptedViT, clips: Tensor, labels: Tensor, precision: torch.dtype) -> None:
        self.model, self.clips, self.labels, self.precision = model, clips, labels, precision
        self.optimizer = plain_optimizer(model)

    def __call__(self) -> None:
        with torch.compiler.set_stance("force_eager"):
            plain_step(
                self.model,
                self.optimizer,
                self.model.backbone.pixels(self.clips),
                self.labels,
                self.precision,
            )


def peak_memory(step: Ours | Plain) -> float:
    """MiB of a step: the allocator's peak, weights and optimizer included; on a CPU, see `step_memory_mb`."""
    device = step.clips.device
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / MIB
    plain = isinstance(step, Plain)
    set_plain(step.model, plain)
    set_plain(step.model.backbone, plain)
    with torch.autocast("cpu", dtype=step.precision, enabled=step.precision != torch.float32):
        return step_memory_mb(step.model, step.clips, step.labels, F.cross_entropy)


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
    begin = time.perf_counter()
    ours()
    start = synchronised(args.device) - begin
    plain()
    flops = flops_of(plain)
    seconds = in_turn({"ours": ours, "plain": plain}, args.device, args.rounds)
    return {
        "clips/s": args.batch / seconds["ours"],
        "plain clips/s": args.batch / seconds["plain"],
        "speed x": seconds["plain"] / seconds["ours"],
        "% of peak": 100 * flops / seconds["ours"] / 1e12 / peak,
        "start s": start,
    }


def row(label: str, backbone: VideoViT, args: argparse.Namespace, peak: float) -> dict[str, Any]:
    device, precision = args.device, args.precision
    model = build(make_method(label), backbone, CLASSES, frames=args.frames).train()
    model.checkpointing = args.checkpointing
    g = torch.Generator().manual_seed(0)
    size = backbone.image_size
    clips = torch.randint(0, 256, (args.batch, args.frames, 3, size, size), generator=g, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (args.batch,), generator=g)
    given = (model, clips.to(device), labels.to(device), precision)
    ours, plain = Ours(*given), Plain(*given)
    times = speed_of(ours, plain, args, peak) if args.rounds else {}
    memory = {}
    pairs: list[tuple[str, Ours | Plain, Ours | Plain]] = [("ours", ours, plain), ("plain", plain, ours)]
    for name, step, other in pairs:
        other.optimizer.state.clear()  # the moments of one alone
        step()
        memory[name] = peak_memory(step)
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
    parser.add_argument("--checkpointing", action="store_true")
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
    backbone = load_backbone(config).to(args.device)
    compiled = gpu if args.compile is None else args.compile
    backbone.set_compiled(compiled)
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
        "compile": compiled,
        "checkpointing": args.checkpointing,
        "rounds": args.rounds,
        **({"measured_peak_tflops": round(peak, 3)} if args.rounds else {}),
    }
    write({"machine": machine(args.device), "settings": settings}, rows, args.out)


if __name__ == "__main__":
    main()
