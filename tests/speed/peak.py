"""Peak memory of a training step, worked out without computing it: any backbone and batch, in seconds, on any machine.

PyTorch's fake tensors have shapes and no numbers. A step on them allocates and frees what a real one does, and its
largest sum is the peak: weights, gradients, optimizer state, what autograd keeps, and the buffers of operations. The
tensors pretend to lie on the CPU, whose choice of operations differs in details. What a GPU's libraries take for
themselves is not in it, nor what its allocator loses between blocks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from petl_bench.backbone import weightless
from petl_bench.config import BackboneConfig
from petl_bench.costs import MIB
from petl_bench.method import build, make_method


class Live(TorchDispatchMode):
    """Sums the storages that are alive, each once."""

    def __init__(self, before: Iterable[Tensor]) -> None:
        super().__init__()
        self.storages: dict[int, int] = {}
        self.bytes = self.peak = 0
        for tensor in before:
            self.see(tensor)

    def see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.storages:
            return
        self.storages[key] = storage.nbytes()
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.gone, key)

    def gone(self, key: int) -> None:
        self.bytes -= self.storages.pop(key)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.see(leaf)
        return out


def peak_of_step(
    label: str,
    config: BackboneConfig,
    classes: int,
    clips: tuple[int, ...],
    precision: torch.dtype,
    step_of: Callable[..., Callable[[], None]],
    *,
    held_in: torch.dtype = torch.float32,
    checkpointing: float = 0.0,
) -> float:
    """MiB at the peak of a method's second step, when the optimizer has its state.

    Args:
        clips: shape of the batch, (B, T, 3, S, S).
        step_of: called with (model, clips, labels, precision), gives the step.
        held_in: what the frozen layers hold their weights in.
    """
    with torch.device("meta"):
        backbone = weightless(config)
        model = build(make_method(label), backbone, classes, frames=clips[1]).train()
    model.checkpointing = checkpointing
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode():
            for part in (model, backbone):
                part._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu"))
            batch = torch.empty(clips, dtype=torch.uint8)
            labels = torch.empty(clips[0], dtype=torch.int64)
            with backbone.held_in(held_in):
                step = step_of(model, batch, labels, precision)
                live = Live([*model.parameters(), *backbone.parameters(), *backbone.buffers(), batch, labels])
                with live:
                    step()
                    live.peak = live.bytes
                    step()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
    return live.peak / MIB
