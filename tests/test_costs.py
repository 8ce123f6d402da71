"""Costs against the paper's numbers and against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import VideoViT
from petl_bench.contract import random_clips, small_backbone
from petl_bench.costs import MIB, count_flops, profile, step_memory_mb
from petl_bench.listing import weightless
from petl_bench.method import build, make_method
from petl_bench.suite import load_backbone_config


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
    both = {"positions": ["before_attn", "before_mlp"]}
    assert profile(
        build(make_method("st_adapter", both), b16, 174), 8, 224, flops=False
    ).trainable_params == (24 * 592_512 + 174 * 769)


def test_paper_flops(b16: VideoViT) -> None:
    view = count_flops(build(make_method("st_adapter"), b16, 400), 8, 224) / 1e9
    assert view == pytest.approx(151.78, abs=0.01)
    assert 3 * view == pytest.approx(455, abs=0.5)


def hand_count(N: int, D: int, depth: int, T: int, patch: int, classes: int) -> int:
    """Multiply-adds of a ViT's frames, fvcore's LayerNorm (5 per number), and the head."""
    tokens = N + 1
    block = tokens * (3 * D * D + D * D + 8 * D * D) + 2 * tokens * tokens * D + 2 * 5 * tokens * D
    stem = N * 3 * patch * patch * D + 5 * tokens * D
    return T * (stem + depth * block) + 5 * D + D * classes


def test_flops_by_hand() -> None:
    backbone = small_backbone()
    N, D, T = 16, 32, 4
    plain = hand_count(N, D, 3, T, 8, 5)
    assert count_flops(AdaptedViT(backbone, 5), T, 32) == plain
    adapter = count_flops(build(make_method("adapter", {"width": 8}), backbone, 5), T, 32)
    assert adapter == plain + T * 3 * 2 * (N + 1) * 2 * D * 8
    st = count_flops(build(make_method("st_adapter", {"width": 8}), backbone, 5), T, 32)
    assert st == plain + T * 3 * N * (2 * D * 8 + 3 * 8)
    temporal = count_flops(build(make_method("temporal"), backbone, 5), T, 32)
    assert temporal == plain + 3 * N * (T * (4 * D * D + D * D) + 2 * T * T * D + 5 * T * D)


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
