"""Costs that need neither data nor training: parameters, FLOPs, memory of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from petl_bench.adapted import AdaptedViT
from petl_bench.kernels import plain_kernels

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


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-adds of every operation that runs under it, as fvcore does.

    Matrix products, convolutions, and norms: 5 for each number that a norm with weights is given, 4 without weights,
    2 and 1 for a batch norm in evaluation mode. fvcore itself stands on torch.jit's tracer, which needs the
    weights and a real forward pass; this one counts on the meta device too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if rule := FLOPS.get(func._schema.name.removeprefix("aten::")):
            self.total += rule(args, out)
        return out


def _product(first: int) -> Callable[[Sequence[Any], Any], int]:
    """(..., n, m) @ (..., m, p), the factors at arguments `first` and `first` + 1."""

    def flops(args: Sequence[Any], out: Any) -> int:
        return math.prod(args[first].shape) * (args[first + 1].shape[-1] if args[first + 1].ndim > 1 else 1)

    return flops


def _convolution(args: Sequence[Any], out: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return x.shape[0] * math.prod(weight.shape) * math.prod((x if transposed else out).shape[2:])


def _norm(weight: int, with_weight: int, without: int) -> Callable[[Sequence[Any], Any], int]:
    def flops(args: Sequence[Any], out: Any) -> int:
        return math.prod(args[0].shape) * (without if args[weight] is None else with_weight)

    return flops


FLOPS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "mm": _product(0),
    "bmm": _product(0),
    "mv": _product(0),
    "dot": _product(0),
    "addmm": _product(1),
    "addbmm": _product(1),
    "baddbmm": _product(1),
    "addmv": _product(1),
    "convolution": _convolution,
    "native_layer_norm": _norm(2, 5, 4),
    "native_group_norm": _norm(1, 5, 4),
    "native_batch_norm": _norm(1, 2, 1),
    "_native_batch_norm_legit_no_training": _norm(1, 2, 1),
}


@torch.no_grad()
def count_flops(model: AdaptedViT, frames: int, size: int) -> int:
    """Multiply-adds of one view as fvcore counts them, LayerNorm included (as the ST-Adapter paper does).

    Shapes alone are computed, on whatever device the model is. A method whose forward pass looks at values is run.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device

    def run(shapes: AbstractContextManager[Any]) -> int:
        # attention as its two products, on every device; torch's fused kernels for whole layers would hide theirs
        with (
            shapes,
            plain_kernels(model),
            torch.compiler.set_stance("force_eager"),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounter() as counter,
        ):
            model(torch.zeros(1, frames, 3, size, size, dtype=torch.uint8, device=device))
        return counter.total

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        if device.type == "meta":
            return run(nullcontext())
        try:
            return run(FakeTensorMode(allow_non_fake_inputs=True))
        except Exception:  # of many kinds, where values are looked at; a real mistake comes again
            return run(nullcontext())
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        model.train(training)


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters as they are held."""
    return sum(p.nbytes for p in module.parameters())


def step_memory_mb(
    model: AdaptedViT, clips: Tensor, labels: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Memory of a training step of this method alone, in MiB, where the device keeps no statistics.

    Weights (frozen and trained), gradients, AdamW's two moments, and every tensor that autograd saves for the
    backward pass, each storage once. Transient buffers are not in it: those of single operations, and with
    checkpointing those of the block that is computed again.
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
        loss = loss_of(model(clips).float(), labels)  # alive until counted, so that no storage is used twice
    model.train(training)
    del loss
    frozen = weight_bytes(model.backbone)
    trained = 16 * count(model)
    return (frozen + trained + sum(saved.values()) + clips.nbytes) / MIB
