"""Costs that need neither data nor training: parameters, FLOPs, memory of a step."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT

MIB = 2**20


@dataclass(frozen=True)
class Profile:
    """Static costs of an adapted model. `gflops_per_view` counts multiply-adds, in 1e9."""

    trainable_params: int
    trainable_params_without_head: int
    total_params: int
    backbone_params: int
    gflops_per_view: float
    state_mb: float  # trained weights, gradients and AdamW's two moments, float32, in MiB
    adapter_bytes: int  # trained weights, float32


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def profile(model: AdaptedViT, frames: int, size: int, flops: bool = True) -> Profile:
    """Parameters, and FLOPs of one view of `frames` frames at `size` x `size` pixels."""
    trained, backbone = count(model), count(model.backbone)
    # copies replace what they copy; the rest of the frozen network is still there
    copied = sum(count(m) for m in model.owned.values())
    return Profile(
        trainable_params=trained,
        trainable_params_without_head=trained - count(model.head),
        total_params=trained + backbone - copied,
        backbone_params=backbone,
        gflops_per_view=count_flops(model, frames, size) / 1e9 if flops else math.nan,
        state_mb=16 * trained / MIB,
        adapter_bytes=4 * trained,
    )


def _attention_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Q K^T and (softmax) V: fvcore does not know torch's fused attention."""
    q, k, v = (x.type().sizes() for x in inputs[:3])
    return math.prod(q) * k[-2] + math.prod(q[:-1]) * k[-2] * v[-1]  # type: ignore[no-any-return]


def count_flops(model: AdaptedViT, frames: int, size: int) -> int:
    """Multiply-adds of one view as fvcore counts them, LayerNorm included (as the ST-Adapter paper does)."""
    device = next(model.parameters()).device
    clip = torch.zeros(1, frames, 3, size, size, dtype=torch.uint8, device=device)
    training = model.training
    model.eval()
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of torch.jit, on which fvcore stands
            from fvcore.nn import FlopCountAnalysis

            analysis = FlopCountAnalysis(model, clip)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            return int(analysis.total())
    finally:
        model.train(training)


def step_memory_mb(
    model: AdaptedViT, clips: Tensor, labels: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Memory of a training step of this method alone, in MiB, where the device keeps no statistics.

    Weights (frozen and trained), gradients, AdamW's two moments, and every tensor that autograd saves for the
    backward pass, each storage once. Transient buffers of single operations are not in it.
    """
    known = {p.untyped_storage().data_ptr() for m in (model, model.backbone) for p in m.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    training = model.training
    model.train()
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = loss_of(model(clips), labels)  # alive until counted, so that no storage is used twice
    model.train(training)
    del loss
    frozen = 4 * count(model.backbone)
    trained = 16 * count(model)
    return (frozen + trained + sum(saved.values()) + clips.nbytes) / MIB
