"""How methods begin and train: defaults, what weights are drawn from, dropout, where a method's own part starts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_methods_reference import tiny
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape
from petl_bench.errors import UserError
from petl_bench.method import build, chosen_blocks, make_method
from petl_bench.registry import builtin_names

DEFAULTS: dict[str, dict[str, Any]] = {
    "adapter": {"width": None, "places": ["after_attn", "after_mlp"], "blocks": None},
    "attentional_pooling": {"heads": None},
    "full": {"temporal": "divided"},
    "linear_probe": {},
    "lora": {"rank": 8, "alpha": 8.0, "layers": ["attn.qkv"]},
    "partial": {"last": 1},
    "prompt": {"number": 8, "deep": True, "dropout": 0.1},
    "st_adapter": {
        "width": None,
        "kernel": (3, 1, 1),
        "positions": ["before_attn"],
        "blocks": None,
        "init": "conv",
    },
    "temporal": {},
}


@pytest.mark.parametrize("name", builtin_names())
def test_defaults(name: str) -> None:
    """Written down again: the committed results were made with these."""
    settings = make_method(name).settings.model_dump()
    assert {key: settings[key] for key in DEFAULTS[name]} == DEFAULTS[name]


@pytest.mark.parametrize(
    ("name", "lowest", "refused"),
    [
        ("adapter", {"width": 1, "places": ["before_attn"]}, [{"width": 0}, {"places": []}, {"places": ["tokens"]}]),
        ("attentional_pooling", {"heads": 1}, [{"heads": 0}]),
        ("lora", {"rank": 1, "alpha": 1e-3}, [{"rank": 0}, {"alpha": 0}, {"layers": []}, {"layers": ["head"]}]),
        ("partial", {"last": 1}, [{"last": 0}]),
        ("prompt", {"number": 1, "dropout": 0.0}, [{"number": 0}, {"dropout": 1.0}, {"dropout": -0.1}]),
        ("st_adapter", {"width": 1, "kernel": [1, 1, 1]},
         [{"width": 0}, {"positions": []}, {"kernel": [3, 3, 2]}, {"kernel": [-1, 1, 1]}, {"kernel": [1, 0, 1]}]),
    ],
)  # fmt: skip
def test_bounds(name: str, lowest: dict[str, Any], refused: list[dict[str, Any]]) -> None:
    build(make_method(name, lowest), tiny("clip"), 3)
    for settings in refused:
        with pytest.raises(UserError, match=f"Method '{name}' is not valid:\n  {next(iter(settings))}"):
            make_method(name, settings)


@pytest.mark.parametrize(
    ("name", "settings", "first"),
    [
        ("adapter", {"blocks": [2, 1]}, 1),
        ("adapter", {}, 0),
        ("st_adapter", {"blocks": [-1]}, 2),
        ("st_adapter", {}, 0),
        ("partial", {}, 2),
        ("partial", {"last": 3}, 0),
        ("linear_probe", {}, 3),
        ("attentional_pooling", {}, 3),
        ("prompt", {}, 0),
        ("lora", {}, 0),
        ("full", {}, 0),
        ("temporal", {}, 0),
    ],
)
def test_blocks_before_the_first_are_shared(name: str, settings: dict[str, Any], first: int) -> None:
    assert build(make_method(name, settings), tiny("clip"), 3).first_block == first


def test_chosen_blocks() -> None:
    assert chosen_blocks(None, 4) == [0, 1, 2, 3]
    assert chosen_blocks([3, -4, 3, -1], 4) == [0, 3]
    for bad in ([4], [-5], []):
        with pytest.raises(UserError, match="blocks 0 to 3"):
            chosen_blocks(bad, 4)


@pytest.mark.parametrize(
    ("name", "settings", "blind"),
    [
        *((name, {}, True) for name in ("adapter", "attentional_pooling", "linear_probe", "lora", "partial", "prompt")),
        ("full", {}, False),
        ("full", {"temporal": "none"}, True),
        ("temporal", {}, False),
        ("st_adapter", {}, False),
        ("st_adapter", {"kernel": [1, 3, 3]}, True),
    ],
)  # fmt: skip
def test_what_is_blind_to_the_order_of_frames(name: str, settings: dict[str, Any], blind: bool) -> None:
    assert make_method(name, settings).order_blind is blind


def test_widths_follow_the_backbone() -> None:
    backbone = tiny("clip")
    backbone.width = 100
    for name, expected in {"adapter": 25, "st_adapter": 50}.items():  # a quarter, half
        model = build(make_method(name), backbone, 3)
        assert {m.down.out_features for m in model.slots.values()} == {expected}
        model = build(make_method(name, {"width": 5}), backbone, 3)
        assert {(m.down.in_features, m.down.out_features) for m in model.slots.values()} == {(100, 5)}


def test_who_starts_as_the_frozen_model() -> None:
    others = {name for name in builtin_names() if not make_method(name).identity_at_init}
    assert others == {"attentional_pooling", "prompt"}


# --- what weights are drawn from


def test_the_head_is_drawn_alike_for_every_method_and_by_the_seed_alone() -> None:
    backbone = tiny("clip")
    heads = [build(make_method(name), backbone, 4000, seed=3).head for name in builtin_names()]
    for head in heads:
        assert torch.equal(head.weight, heads[0].weight)
        assert not head.bias.any()
    drawn = heads[0].weight.detach()
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.03) and abs(float(drawn.mean())) < 5e-4
    assert not torch.equal(drawn, build(make_method("full"), backbone, 4000, seed=4).head.weight)


@pytest.mark.parametrize("name", ["adapter", "attentional_pooling", "lora", "prompt", "st_adapter"])
def test_own_weights_hang_on_the_seed(name: str) -> None:
    def own(seed: int) -> list[Tensor]:
        model = build(make_method(name), tiny("clip"), 3, seed=seed)
        return [
            p for key, p in model.named_parameters() if not key.startswith("head") and p.ndim > 1 and p.any()
        ]

    one, same, other = own(1), own(1), own(2)
    assert one and all(map(torch.equal, one, same))
    assert not any(map(torch.equal, one, other))


def uniform(weight: Tensor, bound: float) -> bool:
    """Whether thousands of numbers fill -bound..bound evenly."""
    quarters = torch.histc(weight.float(), 4, -bound, bound) / weight.numel()
    return bool(weight.abs().max() <= bound * 1.000001) and bool((quarters - 0.25).abs().max() < 0.03)


def test_prompts_are_uniform_within_the_published_bound() -> None:
    model = build(make_method("prompt", {"number": 700}), tiny("clip"), 3)
    bound = math.sqrt(6 / (3 * 2 * 2 + 8))  # patches of 2 x 2 pixels, width 8
    drawn = [m.prompts for m in model.slots.values()]
    assert all(uniform(p, bound) for p in drawn)
    assert len({float(p.detach().sum()) for p in drawn}) == 3  # every block has its own


def test_bounds_of_prompts_take_both_sides_of_a_patch() -> None:
    backbone = tiny("clip")
    backbone.patch = (5, 11)
    model = build(make_method("prompt", {"number": 700, "deep": False}), backbone, 3)
    assert uniform(model.get_submodule("slots.0_tokens").prompts, math.sqrt(6 / (3 * 55 + 8)))  # type: ignore[arg-type]


def test_low_rank_starts_as_a_linear_layer_times_zero() -> None:
    model = build(make_method("lora", {"rank": 500, "alpha": 250.0}), tiny("clip"), 3)
    for module in model.slots.values():
        assert uniform(module.a.weight, 8**-0.5) and not module.b.weight.any()
        assert module.scale == 0.5
        assert module.a.bias is None and module.b.bias is None


def test_bottlenecks_start_at_the_identity() -> None:
    for name, settings, zero in (
        ("adapter", {}, {"down.bias", "up.weight", "up.bias"}),
        ("st_adapter", {}, {"down.bias", "conv.weight", "conv.bias", "up.bias"}),
        ("st_adapter", {"init": "up"}, {"down.bias", "conv.bias", "up.weight", "up.bias"}),
    ):
        model = build(make_method(name, settings), tiny("clip"), 3)
        for module in model.slots.values():
            assert {key for key, p in module.named_parameters() if not p.any()} == zero, name


def test_temporal_attention_starts_as_the_spatial_one_without_effect() -> None:
    backbone = tiny("clip")
    model = build(make_method("temporal"), backbone, 3, frames=400)
    for index, block in enumerate(backbone.vit.blocks):
        module = model.get_submodule(f"slots.{index}_before_attn")
        for own, spatial in ((module.norm, block.norm1), (module.attn, block.attn)):
            assert {k: v.tolist() for k, v in own.state_dict().items()} == {
                k: v.tolist() for k, v in spatial.state_dict().items()
            }
        assert not module.linear.weight.any() and not module.linear.bias.any()
    times = model.get_submodule("shared.time").time_embed
    assert times.shape == (400, 8)
    assert float(times.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not {id(p) for p in model.parameters()} & {id(p) for p in backbone.parameters()}


def test_the_query_and_its_projections_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    from petl_bench.methods.attentional_pooling import QueryPool

    pool = QueryPool(400, 4)
    assert float(pool.query.detach().std()) == pytest.approx(400**-0.5, rel=0.15)
    assert uniform(pool.kv.weight, math.sqrt(6 / (400 + 800))) and uniform(
        pool.proj.weight, math.sqrt(6 / 800)
    )
    assert not pool.kv.bias.any() and not pool.proj.bias.any()
    with pytest.raises(UserError, match="heads=3 does not divide the width 400"):
        QueryPool(400, 3)


# --- training


def test_prompts_drop_out_in_training_and_nothing_else_does() -> None:
    model = build(make_method("prompt", {"number": 50, "dropout": 0.25}), tiny("clip"), 3)
    module = model.get_submodule("slots.1_tokens")
    shape = ClipShape(20, 3, (3, 2), 1)
    x = torch.randn(60, 1 + 9 + 6, 8)  # nine prompts of the block before
    with torch.no_grad():
        module.prompts.fill_(3.0)
    torch.manual_seed(0)
    y = model.train().get_submodule("slots.1_tokens")(x, shape)
    assert torch.equal(y[:, 0], x[:, 0]) and torch.equal(y[:, -6:], x[:, -6:])
    prompts = y[:, 1:-6]
    assert prompts.shape == (60, 50, 8)
    torch.testing.assert_close(prompts.unique(), torch.tensor([0.0, 4.0]))  # 3 / (1 - 0.25)
    shares = (prompts == 0).float().flatten(1).mean(1)
    assert float(shares.mean()) == pytest.approx(0.25, abs=0.02)
    assert len(shares.unique()) > 10  # each frame has a mask of its own
    assert set(model.eval().get_submodule("slots.1_tokens")(x, shape)[:, 1:-6].unique().tolist()) == {3.0}


def test_own_copies_train_and_the_backbone_does_not() -> None:
    backbone = tiny("average")  # its norm is behind the pooling
    model = build(make_method("partial", {"last": 2}), backbone, 3)
    assert set(model.owned) == {"block1", "block2", "norm"}
    own = {id(p) for p in model.parameters()}
    assert own and all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not own & {id(p) for p in backbone.parameters()}
    assert isinstance(model.norms()[1], nn.LayerNorm) and model.norms()[1] is not backbone.vit.fc_norm
    frozen = AdaptedViT(backbone, 3)
    assert frozen.norms() == (backbone.vit.norm, backbone.vit.fc_norm)
