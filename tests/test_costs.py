"""Costs against the paper's numbers, against counts by hand, and against fvcore."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape, VideoViT, load_backbone, weightless
from petl_bench.config import BackboneConfig, read_yaml
from petl_bench.contract import random_clips, small_backbone
from petl_bench.costs import MIB, FlopCounter, count_flops, profile, step_memory_mb
from petl_bench.kernels import set_plain
from petl_bench.method import build, make_method
from petl_bench.profile_table import costs_of
from petl_bench.registry import method_names
from petl_bench.suite import Request, load_backbone_config


@pytest.fixture(scope="module")
def b16() -> VideoViT:
    return weightless(load_backbone_config("clip_vit_b16"))


def test_paper_parameters(b16: VideoViT) -> None:
    full = profile(build(make_method("full"), b16, 400, frames=8), 8, 224, flops=False)
    assert full.trainable_params == 121_567_120  # "121.57 M"
    assert full.total_params == 121_567_120
    st = profile(build(make_method("st_adapter"), b16, 174), 8, 224, flops=False)
    assert st.trainable_params == 12 * 592_512 + 174 * 769  # "7.2 M"
    assert st.trainable_params_without_head == 12 * 592_512
    assert st.total_params == st.trainable_params + 85_799_424
    assert st.state_mb == 16 * st.trainable_params / MIB and st.adapter_bytes == 4 * st.trainable_params
    both = {"positions": ["before_attn", "before_mlp"]}
    assert profile(
        build(make_method("st_adapter", both), b16, 174), 8, 224, flops=False
    ).trainable_params == (24 * 592_512 + 174 * 769)


@pytest.mark.parametrize(("frames", "paper"), [(8, 455), (16, 911), (32, 1821)])
def test_paper_flops(b16: VideoViT, frames: int, paper: int) -> None:
    view = count_flops(build(make_method("st_adapter"), b16, 400, frames=frames), frames, 224) / 1e9
    assert round(3 * view) == paper


# By hand. D width, L blocks, N patches of a frame, T frames, w bottleneck, r rank, p prompts; multiply-adds, and
# 5 for each number that a LayerNorm is given.
D, L, N, T, PATCH, CLASSES = 768, 12, 196, 8, 16, 400
TOKENS = N + 1


def attention(n: int) -> int:
    """qkv, the two products, the output projection, on a sequence of n tokens."""
    return n * D * 3 * D + 2 * n * n * D + n * D * D


def block(n: int) -> int:
    return 5 * n * D + attention(n) + 5 * n * D + n * D * 4 * D + n * 4 * D * D


def plain(T: int = T, n: int = TOKENS) -> int:
    """The frozen network with n tokens in each block, mean over frames, norm, classifier."""
    stem = N * 3 * PATCH * PATCH * D + 5 * TOKENS * D
    return T * (stem + L * block(n)) + 5 * D + D * CLASSES


def temporal(T: int = T) -> int:
    """N sequences of T tokens: norm, attention, linear layer; in every block."""
    return L * N * (5 * T * D + attention(T) + T * D * D)


def temporal_params(T: int = T) -> int:
    return L * (2 * D + (3 * D * D + 3 * D) + (D * D + D) + (D * D + D)) + T * D


def bottlenecks(count: int, w: int) -> tuple[int, int]:
    """On all tokens: down and up."""
    return count * T * TOKENS * 2 * D * w, count * (D * w + w + w * D + D)


def st_adapters(count: int, w: int, kernel: int, T: int = T) -> tuple[int, int]:
    """On patches: down, one multiply-add for each weight of a channel's kernel, up."""
    flops = count * T * N * (2 * D * w + w * kernel)
    return flops, count * (D * w + w + w * kernel + w + w * D + D)


def low_rank(r: int, *layers: tuple[int, int]) -> tuple[int, int]:
    return sum(L * T * TOKENS * r * (a + b) for a, b in layers), sum(L * r * (a + b) for a, b in layers)


POOL = T * TOKENS  # tokens under the query
POOL_FLOPS = 5 * POOL * D + POOL * D * 2 * D + 2 * POOL * D + D * D  # norm of all, kv, products, projection
POOL_PARAMS = D + (2 * D * D + 2 * D) + (D * D + D) + 2 * D
BLOCK_PARAMS = 12 * D * D + 13 * D
BACKBONE_PARAMS = 85_799_424
QKV, PROJ, FC1, FC2 = (D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)

# method, settings, multiply-adds of a view beside the plain network's, trained parameters without the head
BY_HAND: list[tuple[str, dict[str, Any], int, int]] = [
    ("linear_probe", {}, 0, 0),
    ("partial", {}, 0, BLOCK_PARAMS + 2 * D),
    ("partial", {"last": 4}, 0, 4 * BLOCK_PARAMS + 2 * D),
    ("full", {}, temporal(), BACKBONE_PARAMS + temporal_params()),
    ("full", {"temporal": "none"}, 0, BACKBONE_PARAMS),
    ("temporal", {}, temporal(), temporal_params()),
    ("attentional_pooling", {}, POOL_FLOPS, POOL_PARAMS),
    ("attentional_pooling", {"heads": 4}, POOL_FLOPS, POOL_PARAMS),
    ("prompt", {}, plain(n=TOKENS + 8) - plain(), L * 8 * D),
    ("prompt", {"number": 50, "deep": False}, plain(n=TOKENS + 50) - plain(), 50 * D),
    ("adapter", {}, *bottlenecks(2 * L, D // 4)),
    ("adapter", {"width": 64, "places": ["beside_mlp"], "blocks": [-1, 3]}, *bottlenecks(2, 64)),
    ("lora", {}, *low_rank(8, QKV)),
    ("lora", {"rank": 4, "layers": ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]}, *low_rank(4, QKV, PROJ, FC1, FC2)),
    ("st_adapter", {}, *st_adapters(L, D // 2, 3)),
    ("st_adapter", {"kernel": [5, 1, 1]}, *st_adapters(L, D // 2, 5)),
    ("st_adapter", {"kernel": [3, 3, 3], "width": 128}, *st_adapters(L, 128, 27)),
    ("st_adapter", {"positions": ["before_attn", "before_mlp"], "blocks": [6, 7, 11]}, *st_adapters(6, D // 2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "flops", "params"), BY_HAND)
def test_by_hand(b16: VideoViT, name: str, settings: dict[str, Any], flops: int, params: int) -> None:
    model = build(make_method(name, settings), b16, CLASSES, frames=T)
    p = profile(model, T, 224)
    assert round(1e9 * p.gflops_per_view) == plain() + flops
    assert p.trainable_params_without_head == params
    assert p.trainable_params == params + D * CLASSES + CLASSES
    assert p.backbone_params == BACKBONE_PARAMS


def test_total_parameters_by_hand(b16: VideoViT) -> None:
    """What a run holds: trained copies replace what they are copies of, all else is beside the frozen network."""
    copied = {"full": BACKBONE_PARAMS, "partial": BLOCK_PARAMS + 2 * D}
    for name, settings, _, params in BY_HAND:
        last = settings.get("last", 1)
        gone = copied.get(name, 0) + (last - 1) * BLOCK_PARAMS
        p = profile(build(make_method(name, settings), b16, CLASSES, frames=T), T, 224, flops=False)
        assert p.total_params == BACKBONE_PARAMS + params - gone + D * CLASSES + CLASSES, name
        assert p.state_mb == 16 * p.trainable_params / 2**20 and p.adapter_bytes == 4 * p.trainable_params
        assert math.isnan(p.gflops_per_view)


def test_every_method_is_counted_by_hand() -> None:
    assert {name for name, *_ in BY_HAND} == set(method_names())


def test_by_hand_other_lengths(b16: VideoViT) -> None:
    full = build(make_method("full"), b16, CLASSES, frames=16)
    assert count_flops(full, 16, 224) == plain(16) + temporal(16)
    st = build(make_method("st_adapter"), b16, CLASSES, frames=16)
    assert count_flops(st, 16, 224) == plain(16) + st_adapters(L, D // 2, 3, 16)[0]


# the rows of the suite `paper` that are ST-Adapter: adapters, classes -> trained parameters; multiply-adds of 3 views
ADAPTER_PARAMS = (D * 384 + 384) + (3 * 384 + 384) + (384 * D + D)  # down, convolution, up
NAMED = {"st_adapter": 12, "st_adapter_official_k400": 12, "st_adapter_official_ssv2": 24}
POSITIONS = {
    "st_adapter": ["before_attn"],
    "st_adapter_official_k400": ["before_mlp"],
    "st_adapter_official_ssv2": ["before_attn", "before_mlp"],
}
PRINTED = {  # label, data set -> millions of trained parameters, GFLOPs of 3 views of 8 and of 32 frames
    ("st_adapter", "k400"): ("7.42", 455.3, 1821.3),
    ("st_adapter", "ssv2"): ("7.24", 455.3, 1821.3),
    ("st_adapter_official_k400", "k400"): ("7.42", 455.3, 1821.3),
    ("st_adapter_official_k400", "ssv2"): ("7.24", 455.3, 1821.3),
    ("st_adapter_official_ssv2", "k400"): ("14.53", 488.7, 1954.7),
    ("st_adapter_official_ssv2", "ssv2"): ("14.35", 488.7, 1954.7),
}


def test_released_models_of_the_paper_suite() -> None:
    """By hand, and as the suite's header says them."""
    frames_32 = ["dataset.sampling.frames=32"]
    for frames, changes in ((8, []), (32, frames_32)):
        rows = costs_of(Request("paper", list(NAMED), backbone="clip_vit_b16", seeds=[0], changes=changes))
        found = {
            (r.config.method.label, r.config.dataset.name): r
            for r in rows
            if r.config.method.name == "st_adapter"
        }
        assert found.keys() == PRINTED.keys()
        for (label, dataset), row in found.items():
            classes = {"k400": 400, "ssv2": 174}[dataset]
            count, (millions, *gflops) = NAMED[label], PRINTED[label, dataset]
            settings = make_method("st_adapter", row.config.method.settings).settings
            assert settings.positions == POSITIONS[label]
            assert row.profile.trainable_params == count * ADAPTER_PARAMS + classes * (D + 1)
            assert f"{row.profile.trainable_params / 1e6:.2f}" == millions
            by_hand = plain(frames) - D * CLASSES + D * classes + st_adapters(count, 384, 3, frames)[0]
            assert round(1e9 * row.profile.gflops_per_view) == by_hand
            assert round(3 * by_hand / 1e9, 1) == gflops[frames == 32]


def test_published_width_of_vit_l14_is_384() -> None:
    """The GFLOPs printed for it are those of one adapter of that width a block, not of half of the backbone's."""
    l14 = weightless(load_backbone_config("clip_vit_l14"))

    def gflops(frames: int, **settings: int) -> float:
        model = build(make_method("st_adapter", settings), l14, 174, frames=frames)
        return count_flops(model, frames, 224) / 1e9

    assert round(3 * gflops(8, width=384)) == 2062
    assert round(gflops(16, width=384)) == 1375
    assert round(3 * gflops(8)) == 2101  # the default: 512


def test_widths_that_published_numbers_take_a_default_for_are_those_of_the_method() -> None:
    known = read_yaml(Path(str(resources.files("petl_bench"))) / "configs" / "paper.yaml")["left_open"]
    assert known.keys() == {"st_adapter"} and known["st_adapter"].keys() == {"width"}
    for name, width in known["st_adapter"]["width"].items():
        model = build(make_method("st_adapter"), weightless(load_backbone_config(name)), 2)
        assert {m.down.out_features for m in model.slots.values()} == {width}, name


def test_by_hand_without_a_norm_before_the_blocks() -> None:
    backbone = weightless(load_backbone_config("vit_b16_in21k"))
    probe = build(make_method("linear_probe"), backbone, CLASSES)
    assert count_flops(probe, T, 224) == plain() - T * 5 * TOKENS * D


def fvcore_count(model: nn.Module, *inputs: Tensor) -> int:
    def attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # fvcore does not know torch's own
        q, k, v = (x.type().sizes() for x in inputs[:3])
        return math.prod(q) * k[-2] + math.prod(q[:-1]) * k[-2] * v[-1]  # type: ignore[no-any-return]

    set_plain(model, True)  # fvcore knows a convolution by its name alone
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of torch.jit, on which fvcore stands
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model, inputs)
        analysis.set_op_handle("aten::scaled_dot_product_attention", attention)
        return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


@pytest.mark.parametrize("name", method_names())
def test_equals_fvcore(name: str) -> None:
    backbone = small_backbone()
    model = build(make_method(name), backbone, 5, frames=4).eval()
    clips = random_clips(backbone, 1, 4)
    assert count_flops(model, 4, 32) == fvcore_count(model, clips)


class _Everything(nn.Module):
    """Operations that methods to come may use."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 12, 3, stride=2, groups=3)
        self.back = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.batch, self.group = nn.BatchNorm2d(6), nn.GroupNorm(3, 6)
        self.bare = nn.LayerNorm(6, elementwise_affine=False)
        self.linear = nn.Linear(6, 7, bias=False)
        self.mix = nn.Parameter(torch.randn(5, 7))

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.batch(self.back(self.conv(x))))
        x = self.linear(self.bare(x.flatten(2).transpose(1, 2)))
        return torch.einsum("bnd,kd->bnk", x, self.mix) @ torch.ones(5, 4)


def test_operations_equal_fvcore() -> None:
    module, x = _Everything().eval(), torch.randn(2, 6, 11, 13)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounter() as counter:
        module(x)
    assert counter.total == fvcore_count(module, x)
    with FlopCounter() as counter:  # vectors, which fvcore does not know
        torch.ones(3, 4) @ torch.ones(4) @ torch.ones(3)
    assert counter.total == 12 + 3


def test_attention_is_counted_whoever_computes_it() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()

    class Wrapped(AdaptedViT):
        def forward(self, clips: Tensor) -> Tensor:
            return layer(torch.zeros(1, 9, 32))  # type: ignore[no-any-return]

    expected = 9 * 32 * 4 * 32 + 2 * 9 * 9 * 32 + 2 * 9 * 32 * 64 + 2 * 5 * 9 * 32
    assert count_flops(Wrapped(small_backbone(), 2), 1, 32) == expected


def test_shapes_are_enough_and_values_are_looked_at_where_needed() -> None:
    backbone = small_backbone()
    model = build(make_method("st_adapter"), backbone, 5, frames=4)
    expected = count_flops(model, 4, 32)

    class Looking(nn.Module):
        def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
            return x if bool(x.isfinite().all()) else x * 0

    model.fill(2, "before_mlp", Looking())
    assert count_flops(model, 4, 32) == expected
    # nothing is computed: a model whose weights are not there gives the same count
    config = BackboneConfig(
        name="t", summary="", source="timm", model="vit_tiny_patch16_224", weights="random"
    )
    real, bare = (
        count_flops(build(make_method("prompt"), b, 5, frames=2), 2, 224)
        for b in (load_backbone(config), weightless(config))
    )
    assert real == bare


def test_memory_counts_what_autograd_keeps() -> None:
    backbone = small_backbone()
    clips, labels = random_clips(backbone, 4), torch.arange(4)
    memory = {
        name: step_memory_mb(build(make_method(name), backbone, 5), clips, labels, cross_entropy)
        for name in ("linear_probe", "partial", "st_adapter", "full")
    }
    frozen = sum(p.numel() for p in backbone.parameters())
    assert memory["linear_probe"] > (4 * frozen + clips.nbytes) / MIB
    assert memory["linear_probe"] < memory["partial"] < memory["st_adapter"] < memory["full"]
    # half the batch keeps half the activations
    small = step_memory_mb(build(make_method("full"), backbone, 5), clips[:2], labels[:2], cross_entropy)
    state = (
        4 * frozen + 16 * sum(p.numel() for p in build(make_method("full"), backbone, 5).parameters())
    ) / MIB
    assert (memory["full"] - state) / (small - state) == pytest.approx(2, rel=0.02)
