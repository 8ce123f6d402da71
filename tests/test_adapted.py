"""What an adapted model computes and how often: the shared prefix once, hooks for one call, blocks again if asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from test_methods_reference import DEPTH, clips, made, tiny
from torch import Tensor, nn

from petl_bench import adapted
from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import ClipShape, VideoViT
from petl_bench.errors import UserError
from petl_bench.method import build, make_method


@contextmanager
def counted(backbone: VideoViT) -> Iterator[Counter[int]]:
    """How often the first norm of each block is computed."""
    calls: Counter[int] = Counter()
    handles = [
        block.norm1.register_forward_hook(lambda *_, i=i: calls.update([i]))
        for i, block in enumerate(backbone.vit.blocks)
    ]
    yield calls
    for handle in handles:
        handle.remove()


@torch.no_grad()
def test_the_prefix_is_computed_once_as_deep_as_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny("registers")
    stems: list[Tensor] = []
    real = adapted.embed
    monkeypatch.setattr(adapted, "embed", lambda vit, pixels: stems.append(pixels) or real(vit, pixels))
    frozen = Frozen(backbone, backbone.pixels(clips()), backbone.shape_of(clips()))
    expected = [real(backbone.vit, backbone.pixels(clips()))]
    for block in backbone.vit.blocks:
        expected.append(block(expected[-1]))
    with counted(backbone) as calls:
        for depth, so_far in ((0, []), (2, [0, 1]), (3, [0, 1, 2]), (1, [0, 0, 1, 2]), (3, [0, 0, 1, 2]),
                              (2, [0, 0, 1, 2])):  # fmt: skip
            torch.testing.assert_close(frozen.tokens(depth), expected[depth])
            assert sorted(calls.elements()) == so_far, depth
    assert len(stems) == 1


@torch.no_grad()
def test_hooks_of_linear_slots_live_for_one_call() -> None:
    backbone = tiny("clip")
    plain = AdaptedViT(backbone, 4).double().eval()
    before = plain(clips())
    model = build(make_method("lora", {"layers": ["attn.qkv", "mlp.fc2"]}), backbone, 4).double().eval()
    for module in model.slots.values():
        module.b.weight.fill_(0.5)
    model.head.load_state_dict(plain.head.state_dict())
    assert (model(clips()) - before).abs().max() > 1e-3
    assert torch.equal(plain(clips()), before)

    class Failing(nn.Module):
        def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
            raise RuntimeError("in the middle of a block")

    model.fill(1, "before_mlp", Failing())
    with pytest.raises(RuntimeError, match="in the middle"):
        model(clips())
    assert torch.equal(plain(clips()), before)
    assert not any(m._forward_hooks for m in backbone.modules())


@pytest.mark.parametrize(
    ("share", "blocks", "again"),
    [
        (0.0, None, []),
        (0.3, None, [0]),
        (0.5, None, [0, 1]),
        (1.0, None, [0, 1]),  # the backward pass begins with the last
        (0.2, [1], []),
        (0.3, [1], [1]),  # of the two behind the prefix, not of three
        (0.5, [1], [1]),
        (1.0, [1], [1]),
    ],
)
def test_blocks_are_computed_again_going_backwards(
    share: float, blocks: list[int] | None, again: list[int]
) -> None:
    """A share of the blocks behind the shared prefix, the first of them."""
    backbone = tiny("clip")
    model = build(make_method("st_adapter", {"blocks": blocks}), backbone, 4).double().train()
    model.checkpointing = share
    frozen = Frozen(backbone, backbone.pixels(clips()), backbone.shape_of(clips()))
    frozen.tokens(model.first_block)
    with counted(backbone) as calls:
        model.from_frozen(frozen).sum().backward()
    start = 0 if blocks is None else blocks[0]
    assert calls == {i: 1 + (i in again) for i in range(start, DEPTH)}
    with counted(backbone) as calls, torch.no_grad():
        model.eval().from_frozen(frozen)
    assert set(calls.values()) == {1}


def test_checkpointing_counts_all_blocks_of_a_copy() -> None:
    backbone = tiny("clip")
    model = build(make_method("full", {"temporal": "none"}), backbone, 4).double().train()
    model.checkpointing, model.first_block = 0.5, 1  # a copy of the whole network has no shared prefix
    calls: Counter[int] = Counter()
    for i, block in enumerate(model.vit.blocks):
        block.norm1.register_forward_hook(lambda *_, i=i: calls.update([i]))
    model(clips()).sum().backward()
    assert calls == {0: 2, 1: 2, 2: 1}


@torch.no_grad()
def test_a_copy_of_everything_uses_nothing_of_the_backbone() -> None:
    model = made("registers", "full", {})
    expected = model(clips())
    for p in model.backbone.parameters():
        p.zero_()
    assert torch.equal(model(clips()), expected)


def test_slots_are_named_and_filled_once() -> None:
    model = AdaptedViT(tiny("clip"), 4)
    model.fill(0, "attn.qkv", nn.Identity())
    model.fill(1, "attn.qkv", nn.Identity())
    model.fill(0, "mlp.fc1", nn.Identity())
    with pytest.raises(UserError, match=r"Slot 'attn\.qkv' of block 0 is taken"):
        model.fill(0, "attn.qkv", nn.Identity())
    assert set(model.slots) == {"0_attn-qkv", "1_attn-qkv", "0_mlp-fc1"}
    assert model.slot(2, "attn.qkv") is None and model.slot(1, "attn.qkv") is model.slots["1_attn-qkv"]
    assert (model.frames, model.first_block, model.checkpointing) == (8, 0, 0.0)
    for own in (model.head, model.dropout, model.pooling, model.slots):
        assert own in list(model.modules())
    assert len(list(model.parameters())) == 2  # of the head: nothing of the backbone is its own
