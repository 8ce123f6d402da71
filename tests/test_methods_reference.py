"""The forward pass of every method, with weights none of which is zero, against loops in numpy."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import naive_vit as naive
import numpy as np
import pytest
import torch
from naive_vit import Array, Frames, Linear, Shape, Weights, under
from timm.layers.activations import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import VideoViT
from petl_bench.config import BackboneConfig
from petl_bench.kernels import set_plain
from petl_bench.method import build, make_method
from petl_bench.registry import builtin_names

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
GRID, PATCH, DEPTH, WIDTH, T, KNOWN_T = (3, 2), 2, 3, 8, 3, 2
VITS: dict[str, dict[str, Any]] = {
    "clip": {"pre_norm": True, "act_layer": QuickGELU, "norm_layer": partial(nn.LayerNorm, eps=1e-5)},
    # as DINOv2 with registers: LayerScale, position embeddings of the patches alone
    "registers": {"init_values": 1.0, "reg_tokens": 2, "no_embed_class": True},
    # as ViTs that pool their patches, beside a class token and registers
    "average": {"global_pool": "avg", "init_values": 1.0, "reg_tokens": 1},
    "average, norm before": {"global_pool": "avg", "fc_norm": False},
    "no class token": {"global_pool": "avg", "class_token": False},
}


def randomise(module: nn.Module, seed: int) -> None:
    """Every weight matters: none is zero, no gain is one, no two are alike."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(
                0.4 * torch.randn(p.shape, generator=g, dtype=torch.float64) + (0.7 if p.ndim == 1 else 0)
            )


def tiny(kind: str) -> VideoViT:
    vit = VisionTransformer(
        img_size=(GRID[0] * PATCH, GRID[1] * PATCH),
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=2,
        mlp_ratio=2,
        num_classes=0,
        dynamic_img_size=True,
        **VITS[kind],
    )
    config = BackboneConfig(name="tiny", summary="", source="timm", model="tiny", mean=MEAN, std=STD)
    backbone = VideoViT(vit, config).double()
    randomise(backbone, 1)
    return backbone


def shape_of(kind: str, **extra: Any) -> Shape:
    fields = VITS[kind]
    prefix = int(fields.get("class_token", True)) + int(fields.get("reg_tokens", 0))
    return Shape(
        heads=2,
        patch=PATCH,
        prefix=prefix,
        grid=GRID,
        eps=1e-5 if kind == "clip" else 1e-6,
        quick=kind == "clip",
        pool="avg" if "global_pool" in fields else "token",
        extra=extra,
    )


def numbers(module: nn.Module) -> dict[str, Array]:
    return {name: p.detach().numpy() for name, p in module.state_dict().items()}


# --- what each method does to the frames of a clip, weights `w` by their names in the adapted model


def st_bottleneck(frames: Frames, w: Weights, shape: Shape) -> Frames:
    """x + W_up DWConv3D(W_down x), a patch at a time, zeros beyond the borders."""
    h, c = shape.grid
    _, _, kt, kh, kw = w["conv.weight"].shape
    low = [[naive.linear(token, under(w, "down.")) for token in frame[-shape.patches :]] for frame in frames]
    out = [frame.copy() for frame in frames]
    for t, i, j in itertools.product(range(len(frames)), range(h), range(c)):
        total = w["conv.bias"].copy()
        for dt, di, dj in itertools.product(range(kt), range(kh), range(kw)):
            at, row, column = t + dt - kt // 2, i + di - kh // 2, j + dj - kw // 2
            if 0 <= at < len(frames) and 0 <= row < h and 0 <= column < c:
                total += w["conv.weight"][:, 0, dt, di, dj] * low[at][row * c + column]
        out[t][shape.prefix + i * c + j] += naive.linear(total, under(w, "up."))
    return out


def bottleneck(frames: Frames, w: Weights, shape: Shape, residual: bool) -> Frames:
    """W_up GELU(W_down x) for each token."""
    changes = [
        np.array(
            [naive.linear(naive.gelu(naive.linear(x, under(w, "down."))), under(w, "up.")) for x in frame]
        )
        for frame in frames
    ]
    return [frame + change for frame, change in zip(frames, changes, strict=True)] if residual else changes


def time_attention(frames: Frames, w: Weights, times: Array, shape: Shape) -> Frames:
    """Each place attends along the frames, with its own embedding of time; class tokens are left alone."""
    out = [frame.copy() for frame in frames]

    def layer(name: str, x: Array) -> Array:
        return naive.linear(x, under(w, name + "."))

    for place in range(shape.prefix, shape.prefix + shape.patches):
        along = [frame[place] + time for frame, time in zip(frames, times, strict=True)]
        normed = np.array([naive.layer_norm(x, under(w, "norm."), shape.eps) for x in along])
        for t, token in enumerate(naive.attention(normed, shape.heads, layer)):
            out[t][place] += naive.linear(token, under(w, "linear."))
    return out


def stretched(times: Array, length: int) -> Array:
    """Rows between known ones on a line; centres of the parts of a span, its ends held."""
    out = []
    for t in range(length):
        position = min(max((t + 0.5) * len(times) / length - 0.5, 0), len(times) - 1)
        before = int(position)
        after = min(before + 1, len(times) - 1)
        out.append(times[before] * (1 - (position - before)) + times[after] * (position - before))
    return np.array(out)


def low_rank(w: Weights, own: Weights, scale: float) -> Linear:
    """A block's layers, those that have one with their low-rank change."""

    def layer(name: str, x: Array) -> Array:
        out = naive.linear(x, under(own, name + "."))
        a, b = (w.get(f"{name.replace('.', '-')}.{side}.weight") for side in "ab")
        return out if a is None or b is None else out + scale * (b @ (a @ x))

    return layer


def query_pool(frames: Frames, w: Weights, norms: list[Weights], shape: Shape, heads: int) -> Array:
    tokens = []
    for token in itertools.chain(*frames):
        for norm in norms:
            token = naive.layer_norm(token, norm, shape.eps)
        tokens.append(naive.linear(token, under(w, "kv.")))
    D = len(w["query"])
    keys, values = np.array(tokens)[:, :D], np.array(tokens)[:, D:]
    pooled = naive.attend(w["query"], keys, values, heads)
    return naive.layer_norm(naive.linear(pooled, under(w, "proj.")), under(w, "norm."), 1e-5)


# --- the whole network


def logits(kind: str, name: str, settings: dict[str, Any], model: AdaptedViT, clip: Any) -> Array:
    """Of one clip (T, 3, H, W), with the weights that `model` holds."""
    own = numbers(model)
    w = under(own, "owned.vit.") or numbers(model.backbone.vit)
    shape = shape_of(kind, **({"beside_mlp": True} if settings.get("places") == ["beside_mlp"] else {}))
    frames = naive.embed(clip, w, shape, np.array(MEAN), np.array(STD))
    norms = [under(w, "norm."), under(w, "fc_norm.")]
    if name == "partial":
        norms = [under(own, "owned.norm.0."), under(own, "owned.norm.1.")]
    for index in range(DEPTH):
        block = under(own, f"owned.block{index}.") or under(w, f"blocks.{index}.")
        at = partial(in_slot, name, settings, own, index, shape)
        layer = None
        if name == "lora":
            scale = settings.get("alpha", 8.0) / settings.get("rank", 8)
            layer = low_rank(under(own, f"slots.{index}_"), block, scale)
        frames = naive.run_block(frames, block, shape, at, layer)
    if name == "attentional_pooling":
        pooled = query_pool(frames, under(own, "pooling."), norms, shape, settings.get("heads", 2))
    else:
        pooled = naive.mean_pool(frames, *norms, shape)
    return naive.linear(pooled, under(own, "head."))


def in_slot(
    name: str, settings: dict[str, Any], own: Weights, index: int, shape: Shape, slot: str, frames: Frames
) -> Frames:
    w = under(own, f"slots.{index}_{slot}.")
    chosen = settings.get("blocks")
    if chosen is not None:  # the settings decide where modules are, not where they are found
        chosen = [b if b >= 0 else DEPTH + b for b in chosen]
        assert bool(w) == (
            index in chosen and slot in settings.get("positions", settings.get("places", []))
        ), slot
    if not w:
        return frames
    if name == "st_adapter":
        return st_bottleneck(frames, w, shape)
    if name == "adapter":
        return bottleneck(frames, w, shape, residual=slot != "beside_mlp")
    if name in ("full", "temporal"):
        times = own["shared.time.time_embed"]
        return time_attention(frames, w, stretched(times, len(frames)), shape)
    assert name == "prompt"
    P, N = shape.prefix, shape.patches
    return [np.array([*frame[:P], *w["prompts"], *frame[-N:]]) for frame in frames]


CASES: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("full", {"temporal": "none"}),
    ("temporal", {}),
    ("partial", {}),
    ("partial", {"last": 2}),
    ("linear_probe", {}),
    ("attentional_pooling", {}),
    ("attentional_pooling", {"heads": 4}),
    ("prompt", {}),
    ("prompt", {"number": 2, "deep": False}),
    ("adapter", {}),
    ("adapter", {"places": ["beside_mlp"], "width": 3}),
    ("adapter", {"places": ["before_attn", "after_mlp"], "blocks": [-1], "width": 5}),
    ("st_adapter", {}),
    ("st_adapter", {"kernel": [1, 3, 3], "positions": ["before_mlp"]}),
    ("st_adapter", {"kernel": [3, 1, 3], "positions": ["after_attn", "after_mlp"], "width": 3, "blocks": [0, -2]}),
    ("st_adapter", {"kernel": [5, 1, 1], "init": "up"}),
    ("lora", {}),
    ("lora", {"rank": 3, "alpha": 5.0, "layers": ["attn.proj", "mlp.fc1", "mlp.fc2"]}),
    ("lora", {"rank": 2, "alpha": 1.0, "layers": ["attn.qkv", "mlp.fc2"]}),
]  # fmt: skip
KINDS: dict[str, list[str]] = {  # every method on two ViTs, every ViT under several methods
    "prompt": ["clip", "registers", "no class token"],
    "linear_probe": list(VITS),
    "partial": ["average", "average, norm before", "registers"],
    "attentional_pooling": ["clip", "average", "average, norm before"],
    "adapter": ["clip", "registers"],
    "full": ["registers", "clip", "average"],
}


def made(kind: str, name: str, settings: dict[str, Any]) -> AdaptedViT:
    model = build(make_method(name, settings), tiny(kind), 4, frames=KNOWN_T).double().eval()
    randomise(model, 2)
    return model


def clips() -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, T, 3, GRID[0] * PATCH, GRID[1] * PATCH), generator=g, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [(kind, name, s) for name, s in CASES for kind in KINDS.get(name, ["clip", "registers"])],
    ids=str,
)
@torch.no_grad()
def test_forward_equals_loops(kind: str, name: str, settings: dict[str, Any]) -> None:
    model = made(kind, name, settings)
    expected = np.array([logits(kind, name, settings, model, clip.numpy()) for clip in clips()])
    torch.testing.assert_close(model(clips()), torch.tensor(expected), atol=1e-9, rtol=1e-9)
    set_plain(model, True)
    torch.testing.assert_close(model(clips()), torch.tensor(expected), atol=1e-9, rtol=1e-9)


def test_every_method_has_a_reference() -> None:
    assert {name for name, _ in CASES} == set(builtin_names())


@pytest.mark.parametrize("kind", VITS)
@torch.no_grad()
def test_backbones_equal_timm(kind: str) -> None:
    """The loops themselves, for clips of one frame: what timm's own network makes of an image."""
    backbone = tiny(kind)
    model = made(kind, "linear_probe", {})
    clip = clips()[:, :1]
    features = backbone.vit(backbone.pixels(clip))
    expected = features @ model.head.weight.T + model.head.bias
    loops = [logits(kind, "linear_probe", {}, model, one.numpy()) for one in clip]
    torch.testing.assert_close(torch.tensor(np.array(loops)), expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_the_head_drops_out_in_training_alone() -> None:
    model = build(make_method("linear_probe"), tiny("clip"), 4, head_dropout=0.5).double()
    fixed = [model.eval()(clips()) for _ in range(2)]
    assert torch.equal(*fixed)
    kept = []
    model.dropout.register_forward_hook(lambda module, args, out: kept.append(out / args[0]))
    torch.manual_seed(0)
    for _ in range(200):
        model.train()(clips())
    shares = torch.stack(kept)
    assert set(shares.round(decimals=6).unique().tolist()) == {0.0, 2.0}
    assert float((shares == 0).double().mean()) == pytest.approx(0.5, abs=0.05)
