"""The contract that every method keeps: what `petl-bench check` runs on one and the tests run on all."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT, clip_vit
from petl_bench.config import BackboneConfig
from petl_bench.costs import count_flops, profile
from petl_bench.method import Method, build, make_method

CLASSES = 5
STEPS = 4


@dataclass(frozen=True)
class Check:
    """One clause of the contract, and whether it holds."""

    name: str
    ok: bool
    detail: str


def small_backbone() -> VideoViT:
    """A CLIP-like ViT of 3 blocks with random weights: the contract does not depend on what was learned."""
    clip = {
        "embed_dim": 32,
        "vision_cfg": {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    }
    config = BackboneConfig(name="contract", summary="random weights", source="embedded", model="contract")
    backbone = VideoViT(clip_vit(clip), config)
    with torch.no_grad():  # biases and norms start at trivial values that would hide mistakes
        g = torch.Generator().manual_seed(1)
        for p in backbone.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=g))
    return backbone


def check_method(
    name: str, settings: dict[str, Any] | None = None, backbone: VideoViT | None = None
) -> list[Check]:
    """Every clause of the contract on one method. An exception in a clause is a clause that does not hold."""
    method = make_method(name, settings)
    backbone = backbone or small_backbone()
    clauses: list[tuple[str, Callable[[Method, VideoViT], str]]] = [
        ("only what the method owns trains", _only_own_trains),
        ("every trained parameter receives gradients", _all_receive_gradients),
        ("frozen weights stay bit-identical", _frozen_stays),
        ("starts as the frozen backbone", _identity),
        ("first_block is true", _first_block),
        ("save and load", _save_load),
        ("any batch, length and image size", _any_shape),
        ("deterministic under a seed", _deterministic),
        ("order of frames", _order),
        ("the same in bf16, whoever casts", _held),
        ("costs are counted", _costs),
    ]
    out = []
    for title, clause in clauses:
        try:
            out.append(Check(title, True, clause(method, backbone)))
        except Exception as error:  # a foreign method can fail in any way
            where = traceback.extract_tb(error.__traceback__)[-1]
            detail = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            out.append(Check(title, False, f"{detail} ({where.name}, line {where.lineno})"))
    return out


def random_clips(backbone: VideoViT, B: int = 2, T: int = 4, h: int = 0, w: int = 0, seed: int = 0) -> Tensor:
    """uint8 noise (B, T, 3, h, w); the backbone's own size by default."""
    g = torch.Generator().manual_seed(seed)
    shape = (B, T, 3, h or backbone.image_size, w or backbone.image_size)
    return torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)


def _make(method: Method, backbone: VideoViT, seed: int = 0) -> AdaptedViT:
    return build(method, backbone, CLASSES, frames=4, seed=seed)


def _in_float64(model: AdaptedViT) -> AdaptedViT:
    """A copy, with its backbone: here rounding cannot be mistaken for a dependence."""
    model = copy.deepcopy(model).double()
    model.backbone.double()
    return model


def _features(model: AdaptedViT, clips: Tensor) -> Tensor:
    """What enters the head."""
    shape = model.backbone.shape_of(clips)
    x = Frozen(model.backbone, model.backbone.pixels(clips), shape).tokens(0)
    if "vit" in model.owned:
        from petl_bench.backbone import embed

        x = embed(model.vit, model.backbone.pixels(clips))
    for index in range(model.backbone.depth):
        x = model.run_block(index, x, shape)
    return model.pooling(x, shape, model)  # type: ignore[no-any-return]


def _train(model: AdaptedViT, steps: int = STEPS) -> set[str]:
    """A few optimizer steps; the names of parameters that had a gradient in any of them."""
    touched: set[str] = set()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step in range(steps):
            labels = (torch.arange(2) + step) % CLASSES
            F.cross_entropy(model(random_clips(model.backbone, seed=step)), labels).backward()  # type: ignore[no-untyped-call]
            touched |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    return touched


def _trained(method: Method, backbone: VideoViT) -> AdaptedViT:
    """A model after a few steps, also within `no_grad`."""
    with torch.enable_grad():
        model = _make(method, backbone)
        _train(model)
    return model


def _only_own_trains(method: Method, backbone: VideoViT) -> str:
    model = _make(method, backbone)
    own = {id(p) for p in model.parameters()}
    frozen = {id(p) for p in backbone.parameters()}
    assert not own & frozen, "the method registered frozen weights as its own"
    still = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert not still, f"owned but not trained: {still[:3]}"
    assert not any(p.requires_grad for p in backbone.parameters()), (
        "a weight of the backbone requires gradients"
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    _train(model)
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    return f"{sum(p.numel() for p in model.parameters()):,} parameters in {len(moved)} tensors moved"


def _all_receive_gradients(method: Method, backbone: VideoViT) -> str:
    model = _make(method, backbone)
    without = {n for n, _ in model.named_parameters()} - _train(model)
    assert not without, f"no gradient in {STEPS} steps: {sorted(without)[:5]}"
    return f"within {STEPS} steps"


def _frozen_stays(method: Method, backbone: VideoViT) -> str:
    before = {n: t.clone() for n, t in [*backbone.named_parameters(), *backbone.named_buffers()]}
    _trained(method, backbone)
    changed = [
        n
        for n, t in [*backbone.named_parameters(), *backbone.named_buffers()]
        if not torch.equal(t, before[n])
    ]
    assert not changed, f"changed: {changed[:3]}"
    return f"{len(before)} tensors after {STEPS} steps"


@torch.no_grad()
def _identity(method: Method, backbone: VideoViT) -> str:
    if not method.identity_at_init:
        return "not claimed by this method"
    clips = random_clips(backbone)
    adapted = _features(_make(method, backbone).eval(), clips)
    plain = _features(AdaptedViT(backbone, CLASSES).eval(), clips)
    error = float((adapted - plain).abs().max())
    assert error < 1e-5, f"features differ from the frozen backbone's by {error:.2g}"
    return f"features differ by {error:.1g} at most"


@torch.no_grad()
def _first_block(method: Method, backbone: VideoViT) -> str:
    model = _make(method, backbone).eval()
    first = model.first_block
    assert 0 <= first <= backbone.depth, f"first_block is {first}, the backbone has {backbone.depth} blocks"
    used = [int(k.split("_")[0]) for k in model.slots] + [
        int(k[5:]) for k in model.owned if k.startswith("block")
    ]
    early = [i for i in used if i < first]
    assert not early, f"first_block is {first}, but block {early[0]} is touched"
    clips = random_clips(backbone)
    frozen = Frozen(backbone, backbone.pixels(clips), backbone.shape_of(clips))
    shared = frozen.tokens(first).clone()
    model.from_frozen(frozen)
    assert torch.equal(frozen.tokens(first), shared), "it writes into tokens that other methods share"
    whole = model.head(_features(model, clips))
    error = float((model(clips) - whole).abs().max())
    assert error < 1e-5, f"sharing the prefix changes the logits by {error:.2g}"
    return f"blocks 0 to {first - 1} are shared" if first else "nothing is shared but the stem"


@torch.no_grad()
def _save_load(method: Method, backbone: VideoViT) -> str:
    model = _trained(method, backbone)
    data = save({k: v.contiguous() for k, v in model.state_dict().items()})
    other = _make(method, backbone, seed=7).eval()
    other.load_state_dict(load(data))
    clips = random_clips(backbone, seed=3)
    assert torch.equal(model(clips), other(clips)), "a loaded model gives other logits"
    return f"{len(data):,} bytes, logits bit-identical"


@torch.no_grad()
def _any_shape(method: Method, backbone: VideoViT) -> str:
    model = _make(method, backbone).eval()
    p = backbone.patch[0]
    s = backbone.image_size
    tried = [
        (1, 1, s, s),
        (3, 4, s, s),
        (2, 5, s, s),
        (1, 16, s, s),
        (2, 4, s + 2 * p, s),
        (1, 4, 2 * p, 2 * p),
    ]
    for B, T, h, w in tried:
        logits = model(random_clips(backbone, B, T, h, w))
        assert logits.shape == (B, CLASSES), f"{(B, T, h, w)} gave {tuple(logits.shape)}"
        assert torch.isfinite(logits).all(), f"{(B, T, h, w)} gave logits that are not finite"
    model, pair = _in_float64(model), random_clips(backbone, 2, 4)
    error = float((model(pair)[1:] - model(pair[1:])).abs().max())
    assert error < 1e-10, f"a clip's logits depend on the others in its batch ({error:.2g})"
    return f"{len(tried)} shapes, clips independent of each other"


def _deterministic(method: Method, backbone: VideoViT) -> str:
    a, b = _make(method, backbone, seed=5), _make(method, backbone, seed=5)
    _train(a)
    _train(b)
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), f"{name} differs between two runs with one seed"
    return f"bit-identical after {STEPS} steps"


@torch.no_grad()
def _order(method: Method, backbone: VideoViT) -> str:
    model = _trained(method, backbone)
    model = _in_float64(model)
    clips = random_clips(backbone, 2, 4, seed=9)
    error = float((model(clips) - model(clips.flip(1))).abs().max())
    if method.order_blind:
        assert error < 1e-10, f"declared order-blind, but reversed clips change the logits by {error:.2g}"
        return "blind to it, as declared"
    assert error > 1e-10, "not declared order-blind, but reversed clips give the same logits"
    return f"reversed clips change the logits by {error:.2g}"


@torch.no_grad()
def _held(method: Method, backbone: VideoViT) -> str:
    model = _trained(method, backbone)
    clips = random_clips(backbone)
    with torch.autocast("cpu", torch.bfloat16):
        cast = model(clips)
        with backbone.held_in(torch.bfloat16):  # as training does
            held = model(clips)
    assert torch.equal(cast, held), (
        "logits change when frozen layers hold bf16: a weight of theirs is read elsewhere than in the layer's own "
        "call; copy it in adapt()"
    )
    return "frozen layers may hold bf16"


def _costs(method: Method, backbone: VideoViT) -> str:
    model = _make(method, backbone)
    p = profile(model, 4, backbone.image_size)
    assert p.trainable_params == sum(q.numel() for q in model.parameters() if q.requires_grad)
    frozen = count_flops(AdaptedViT(backbone, CLASSES), 4, backbone.image_size) / 1e9
    assert p.gflops_per_view >= frozen, "fewer FLOPs than the frozen backbone: something is not counted"
    return f"{p.trainable_params:,} trained, {p.gflops_per_view:.4f} GFLOPs a view of 4 frames"
