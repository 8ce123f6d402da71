"""Operations written so that a training step moves and keeps fewer numbers. Each has a plain twin.

All give the values of their twins (`tests/test_kernels.py`, in float64 and float32); what differs is what autograd
keeps and how often memory is passed over. Nothing here needs a compiler or a GPU. Modules with such an operation have
an attribute `plain`, which brings the twin back: `recipe.kernels=plain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from timm.layers import activations
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

# mypy: disable-error-code="no-untyped-call"


class _QuickGELU(torch.autograd.Function):
    """x sigmoid(1.702 x), keeping x alone; autograd would keep the sigmoid too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (1.702 * x).sigmoid_().mul_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        s = (1.702 * x).sigmoid_()
        # s + 1.702 x s (1 - s)
        return (1 - s).mul_(x).mul_(1.702).add_(1).mul_(s).mul_(grad)


class QuickGELU(activations.QuickGELU):
    """The activation of OpenAI's CLIP: x sigmoid(1.702 x), any shape."""

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        if self.plain or torch.compiler.is_compiling():  # a compiler recomputes by itself
            return super().forward(x)  # type: ignore[no-any-return]
        return _QuickGELU.apply(x)  # type: ignore[no-any-return]


def with_lean_activations(module: M) -> M:
    """The module with every QuickGELU of timm in it exchanged for the one here."""
    for part in module.modules():
        for name, child in part.named_children():
            if type(child) is activations.QuickGELU:
                setattr(part, name, QuickGELU())
    return module


class _TimeConv(torch.autograd.Function):
    """A depthwise convolution over time as shifted multiply-adds, keeping its input and the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = torch.addcmul(bias, x, weight[:, weight.shape[1] // 2])
        return _add_shifts(out, x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        K, T = weight.shape[1], x.shape[1]
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(1)  # what moved forwards in time moves back
            dx = _add_shifts(grad * turned[:, K // 2], grad, turned)
        if ctx.needs_input_grad[1]:
            dw = torch.zeros_like(weight)
            for k in range(K):
                if abs(k - K // 2) < T:
                    later, now = _overlap(x, grad, k - K // 2)
                    dw[:, k] = (later * now).sum((0, 1, 2))
        if ctx.needs_input_grad[2]:
            db = grad.sum((0, 1, 2))
        return dx, dw, db


def _overlap(x: Tensor, out: Tensor, ahead: int) -> tuple[Tensor, Tensor]:
    """The parts of `x` and `out` that meet where out[t] takes x[t + ahead]; (B, T, N, C)."""
    T = x.shape[1]
    if ahead >= 0:
        return x[:, ahead:], out[:, : T - ahead]
    return x[:, : T + ahead], out[:, -ahead:]


def _add_shifts(out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Add, in place, what every tap but the middle one contributes."""
    middle = weight.shape[1] // 2
    for k in range(weight.shape[1]):
        if k != middle and abs(k - middle) < x.shape[1]:
            there, here = _overlap(x, out, k - middle)
            here.addcmul_(there, weight[:, k])
    return out


def time_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution over time: out[b, t, n, c] = bias[c] + sum_k weight[c, k] x[b, t + k - K // 2, n, c].

    What lies before the first or after the last frame is zero, as in `torch.nn.Conv3d` with kernel (K, 1, 1), padding
    (K // 2, 0, 0) and groups = C, whose twin this is, without turning channels to the front and back.

    Args:
        x: (B, T, N, C).
        weight: (C, K), K odd. bias: (C,). Both are taken in the type of `x`, as autocast does.

    Returns:
        (B, T, N, C).
    """
    return _TimeConv.apply(x, weight.to(x.dtype), bias.to(x.dtype))  # type: ignore[no-any-return]


class _AddToPatches(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Tensor) -> Tensor:
        ctx.patches, ctx.dtypes = change.shape[1], (x.dtype, change.dtype)
        out = x.to(torch.promote_types(x.dtype, change.dtype), copy=True)
        out[:, -change.shape[1] :] += change
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        of_x, of_change = ctx.dtypes
        return grad.to(of_x), grad[:, -ctx.patches :].to(of_change)


def add_to_patches(x: Tensor, change: Tensor) -> Tensor:
    """x with `change` added to its last tokens: (F, P + N, D) and (F, N, D) -> (F, P + N, D).

    Class tokens and prompts are left as they are. Nothing is kept for the backward pass.
    """
    return _AddToPatches.apply(x, change)  # type: ignore[no-any-return]


def set_plain(module: nn.Module, plain: bool) -> None:
    """Switch every operation of a module that has a plain twin."""
    for part in module.modules():
        if hasattr(part, "plain"):
            part.plain = plain  # type: ignore[assignment]


@contextmanager
def plain_kernels(module: nn.Module) -> Iterator[None]:
    """With it, a module computes by the plain twins: operations that are counted must be seen as what they are."""
    were = [(part, part.plain) for part in module.modules() if hasattr(part, "plain")]
    set_plain(module, True)
    try:
        yield
    finally:
        for part, plain in were:
            part.plain = plain
