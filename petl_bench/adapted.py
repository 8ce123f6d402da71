"""A backbone with a method's modules in its slots.

Slots of block `i`, each a module called with `(x, shape)`:

| slot | what it is given | what it returns |
|---|---|---|
| `tokens` | the stream that enters the block | the stream, with prompts put in or exchanged |
| `before_attn`, `before_mlp` | the residual stream | the residual stream |
| `after_attn`, `after_mlp` | the branch's output, before the residual sum | the same, adapted |
| `beside_mlp` | the residual stream that enters the MLP branch | what is added beside the branch |

and a linear layer inside the block (`attn.qkv`, `attn.proj`, `mlp.fc1`, `mlp.fc2`), whose slot is called with
`(input, output)` of that layer and returns the new output. A slot that nobody uses costs nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from petl_bench.backbone import VideoViT, embed
from petl_bench.block import ClipShape, run_block
from petl_bench.errors import UserError, unknown_name

STREAM_SLOTS = ("tokens", "before_attn", "after_attn", "before_mlp", "after_mlp", "beside_mlp")
LINEAR_SLOTS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class MeanPool(nn.Module):
    """The published head's input: the frames' class tokens, averaged, then the final norm.

    For ViTs that were pretrained with the mean of their patches instead: that, with the norms where they had them.
    """

    def forward(self, x: Tensor, shape: ClipShape, model: AdaptedViT) -> Tensor:
        """(B*T, P + ... + N, D) -> (B, D)."""
        norm, fc_norm = model.norms()
        by_class_token = model.vit.global_pool == "token"
        frames = x[:, 0] if by_class_token else norm(x[:, -shape.N :]).mean(1)
        clips = frames.view(shape.B, shape.T, -1).mean(1)
        return fc_norm(norm(clips) if by_class_token else clips)  # type: ignore[no-any-return]


class AdaptedViT(nn.Module):
    """A method's own modules around a shared, frozen backbone.

    `parameters()` and `state_dict()` hold what the method owns and nothing of the backbone: copies of the
    blocks that it trains, the modules in its slots, its pooling and its head.
    """

    def __init__(self, backbone: VideoViT, classes: int, frames: int = 8, head_dropout: float = 0.0) -> None:
        super().__init__()
        self.frames = frames  # of the training clips; other lengths must work too
        self._backbone = (backbone,)  # in a tuple, so that nn.Module does not make it a part of this one
        self.head = nn.Linear(backbone.width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(head_dropout)
        self.pooling: nn.Module = MeanPool()
        self.owned = nn.ModuleDict()
        self.slots = nn.ModuleDict()
        self.shared = nn.ModuleDict()  # modules that several slots use
        self.first_block = 0  # set by the method
        self._copies: list[nn.Module] = []  # of pretrained modules, wherever they stand now
        # share of the blocks that are computed again in the backward pass, instead of keeping what is in them
        self.checkpointing = 0.0

    @property
    def backbone(self) -> VideoViT:
        return self._backbone[0]

    @property
    def vit(self) -> VisionTransformer:
        """The ViT whose stem and norm are used: the method's own copy, or the frozen one."""
        return self.owned["vit"] if "vit" in self.owned else self.backbone.vit

    # -- what methods call ---------------------------------------------------------------------------

    def own(self, module: nn.Module) -> nn.Module:
        """A copy of a pretrained module, to be put where it trains with the learning rate of pretrained weights."""
        own = copy.deepcopy(module).requires_grad_(True)
        self._copies.append(own)
        return own

    def own_all(self) -> None:
        """Train a copy of every weight of the backbone."""
        self.owned["vit"] = self.own(self.backbone.vit)

    def own_block(self, index: int) -> None:
        """Train a copy of a block."""
        self.owned[f"block{index}"] = self.own(self.backbone.vit.blocks[index])

    def own_norm(self) -> None:
        """Train a copy of the final norm."""
        self.owned["norm"] = self.own(nn.Sequential(self.backbone.vit.norm, self.backbone.vit.fc_norm))

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """Of the copies that train; everything else in `parameters()` is new."""
        for module in self._copies:
            yield from module.parameters()

    def fill(self, index: int, slot: str, module: nn.Module) -> None:
        """Put a module into a slot of block `index`. Raises UserError for unknown and taken slots."""
        if slot not in STREAM_SLOTS + LINEAR_SLOTS:
            raise unknown_name("slot", slot, STREAM_SLOTS + LINEAR_SLOTS)
        key = f"{index}_{slot.replace('.', '-')}"
        if key in self.slots:
            raise UserError(f"Slot {slot!r} of block {index} is taken.")
        self.slots[key] = module

    # -- the forward pass ----------------------------------------------------------------------------

    def block(self, index: int) -> nn.Module:
        own = f"block{index}"
        return self.owned[own] if own in self.owned else self.vit.blocks[index]

    def norms(self) -> tuple[nn.Module, nn.Module]:
        """The final norm, and the one after pooling of ViTs that have it there; the other is the identity."""
        if "norm" in self.owned:
            return self.owned["norm"][0], self.owned["norm"][1]  # type: ignore[index]
        return self.vit.norm, self.vit.fc_norm

    def final_norm(self, x: Tensor) -> Tensor:
        """Both norms, whatever the shape before the width."""
        norm, fc_norm = self.norms()
        return fc_norm(norm(x))  # type: ignore[no-any-return]

    def slot(self, index: int, name: str) -> nn.Module | None:
        key = f"{index}_{name.replace('.', '-')}"
        return self.slots[key] if key in self.slots else None

    def run_block(self, index: int, x: Tensor, shape: ClipShape) -> Tensor:
        """One block with its slots: (B*T, P + ... + N, D) -> the same."""
        start, last = 0 if "vit" in self.owned else self.first_block, self.backbone.depth - 1
        # the first ones: when the backward pass comes to them, what the others kept is gone; never the last, which
        # the backward pass begins with
        again = index - start < int(self.checkpointing * (last + 1 - start) + 0.5) and index < last
        if again and torch.is_grad_enabled():
            return checkpoint(self._run_block, index, x, shape, use_reentrant=False)  # type: ignore[no-any-return]
        return self._run_block(index, x, shape)

    def _run_block(self, index: int, x: Tensor, shape: ClipShape) -> Tensor:
        block = self.block(index)
        slots = {s: m for s in STREAM_SLOTS if (m := self.slot(index, s)) is not None}
        with self._linear_slots(index, block) as hooked:
            # hooks come and go, which a compiler would take for another block every time
            run = run_block if hooked else self.backbone.run_block
            return run(block, slots, x, shape)

    @contextmanager
    def _linear_slots(self, index: int, block: nn.Module) -> Iterator[bool]:
        # Hooks live for one call: the frozen block belongs to all methods.
        handles = []
        for name in LINEAR_SLOTS:
            if (m := self.slot(index, name)) is not None:
                hook = lambda _, args, out, m=m: m(args[0], out)  # noqa: E731
                handles.append(block.get_submodule(name).register_forward_hook(hook))
        try:
            yield bool(handles)
        finally:
            for handle in handles:
                handle.remove()

    def from_tokens(self, x: Tensor, shape: ClipShape, start: int) -> Tensor:
        """Logits (B, classes) from the tokens that enter block `start`."""
        for index in range(start, self.backbone.depth):
            x = self.run_block(index, x, shape)
        return self.head(self.dropout(self.pooling(x, shape, self)))  # type: ignore[no-any-return]

    def forward(self, clips: Tensor) -> Tensor:
        """Logits of uint8 clips: (B, T, 3, H, W), range 0..255 -> (B, classes)."""
        shape = self.backbone.shape_of(clips)
        frozen = Frozen(self.backbone, self.backbone.pixels(clips), shape)
        return self.from_frozen(frozen)

    def from_frozen(self, frozen: Frozen) -> Tensor:
        """Logits (B, classes), taking the untouched prefix of the network from `frozen`."""
        if "vit" in self.owned:
            return self.from_tokens(embed(self.vit, frozen.pixels), frozen.shape, 0)
        return self.from_tokens(frozen.tokens(self.first_block), frozen.shape, self.first_block)


class Frozen:
    """The frozen prefix of a forward pass, computed once for all methods, as deep as somebody asks.

    Attributes:
        pixels: normalised frames (B*T, 3, H, W).
        shape: the shape of the clips.
    """

    def __init__(self, backbone: VideoViT, pixels: Tensor, shape: ClipShape) -> None:
        self.backbone = backbone
        self.pixels = pixels
        self.shape = shape
        self._at: dict[int, Tensor] = {}

    @torch.no_grad()
    def tokens(self, depth: int) -> Tensor:
        """Tokens (B*T, P + N, D) that enter block `depth`; `depth` = number of blocks: what leaves the last."""
        below = [d for d in self._at if d <= depth]
        start = max(below, default=0)
        x = self._at[start] if below else embed(self.backbone.vit, self.pixels)
        for index in range(start, depth):
            x = self.backbone.run_block(self.backbone.vit.blocks[index], {}, x, self.shape)
        self._at[depth] = x
        return x
