"""One block of a ViT with a method's modules in its slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class ClipShape:
    """What a slot must know of the tokens it is given.

    Attributes:
        B: clips. T: frames of a clip. grid: rows and columns of patches. P: prefix tokens.
    """

    B: int
    T: int
    grid: tuple[int, int]
    P: int

    @property
    def N(self) -> int:
        return self.grid[0] * self.grid[1]


def run_block(block: Any, slots: Mapping[str, nn.Module], x: Tensor, shape: ClipShape) -> Tensor:
    """A block with modules in its slots (see `adapted.py`): (B*T, P + prompts + N, D) -> the same."""
    if not slots:
        return block(x)  # type: ignore[no-any-return]
    if m := slots.get("tokens"):
        x = m(x, shape)
    if m := slots.get("before_attn"):
        x = m(x, shape)
    branch = block.ls1(block.attn(block.norm1(x)))
    if m := slots.get("after_attn"):
        branch = m(branch, shape)
    x = x + branch
    if m := slots.get("before_mlp"):
        x = m(x, shape)
    branch = block.ls2(block.mlp(block.norm2(x)))
    if m := slots.get("after_mlp"):
        branch = m(branch, shape)
    if m := slots.get("beside_mlp"):
        branch = branch + m(x, shape)
    return x + branch
