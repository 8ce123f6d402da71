"""Peak memory of one training step of a method, as if it trained alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from petl_bench.adapted import AdaptedViT
from petl_bench.costs import MIB, count, step_memory_mb, weight_bytes

CUDA_SOURCE = "cuda allocator"
STATE_SOURCE = "state + saved tensors"


def memory_source(device: torch.device) -> str:
    return CUDA_SOURCE if device.type == "cuda" else STATE_SOURCE


def step_memory(
    model: AdaptedViT,
    clips: Tensor,
    labels: Tensor,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    precision: torch.dtype,
) -> float:
    """MiB of a forward and a backward pass on a batch, with weights, gradients and optimizer state.

    On a GPU: the allocator's peak during the passes above what was there before, plus this method's share of what
    was there (frozen and trained weights, AdamW's two moments). Elsewhere: see `costs.step_memory_mb`. The model
    is left as it was: no optimizer step, no gradients, no change of any generator.
    """
    device = next(model.parameters()).device
    clips, labels = clips.to(device), labels.to(device)
    if device.type != "cuda":
        with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            return step_memory_mb(model, clips, labels, loss_of)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    both_passes(model, clips, labels, loss_of, precision)
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    resident = weight_bytes(model.backbone) + 12 * count(model) + clips.nbytes
    return (peak + resident) / MIB


def both_passes(
    model: AdaptedViT,
    clips: Tensor,
    labels: Tensor,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    precision: torch.dtype,
) -> None:
    """A forward and a backward pass on a batch that leave the model and every generator as they were."""
    device = clips.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            logits = model(clips)
        loss_of(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
