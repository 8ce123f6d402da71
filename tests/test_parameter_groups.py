"""Which parameters get weight decay, and which the learning rate of new modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from petl_bench.backbone import load_backbone
from petl_bench.config import RunConfig
from petl_bench.contract import small_backbone
from petl_bench.data import open_data
from petl_bench.errors import UserError
from petl_bench.method import build, make_method
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.trainee import parameter_groups

MakeRuns = Callable[..., list[RunConfig]]


# of the small backbone of three blocks, by hand: method -> (decayed, not decayed) for pretrained and new modules
def temporal(*layers: str) -> set[str]:
    return {f"slots.{i}_before_attn.{layer}.weight" for i in range(3) for layer in layers}


def groups_of(name: str, settings: dict[str, Any] | None = None) -> dict[tuple[float, float], set[str]]:
    method = make_method(name, settings)
    model = build(method, small_backbone(), 5)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = parameter_groups(method, model, 0.3)
    found = {(g["lr_multiple"], g["weight_decay"]): {names.pop(id(p)) for p in g["params"]} for g in groups}
    assert len(found) == len(groups)
    assert not names  # every parameter is in one group, and in one only
    return found


def test_full_fine_tuning_has_four_groups() -> None:
    found = groups_of("full")
    assert set(found) == {(1.0, 0.3), (1.0, 0.0), (10.0, 0.3), (10.0, 0.0)}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    image = {f"owned.vit.blocks.{i}.{layer}.weight" for i in range(3) for layer in layers}
    copied = temporal("attn.qkv", "attn.proj")
    assert found[1.0, 0.3] == image | copied | {"owned.vit.patch_embed.proj.weight"}
    norms_and_biases = found[1.0, 0.0]
    assert {"owned.vit.cls_token", "owned.vit.pos_embed", "owned.vit.norm.weight"} <= norms_and_biases
    assert temporal("norm") <= norms_and_biases
    assert found[10.0, 0.3] == temporal("linear") | {"head.weight"}
    linear_biases = {f"slots.{i}_before_attn.linear.bias" for i in range(3)}
    assert found[10.0, 0.0] == linear_biases | {"head.bias", "shared.time.time_embed"}


@pytest.mark.parametrize(
    ("name", "settings", "decayed"),
    [
        ("linear_probe", {}, set()),
        ("prompt", {}, set()),  # prompts are embeddings
        (
            "prompt",
            {"decay": True},
            {f"slots.{i}_tokens.prompts" for i in range(3)},
        ),  # as VPT has it with AdamW
        ("temporal", {"drop_path": 0.1}, temporal("attn.qkv", "attn.proj", "linear")),
        ("temporal", {}, temporal("attn.qkv", "attn.proj", "linear")),
        ("lora", {"rank": 2}, {f"slots.{i}_attn-qkv.{ab}.weight" for i in range(3) for ab in "ab"}),
        ("st_adapter", {"blocks": [1]}, {f"slots.1_before_attn.{m}.weight" for m in ("down", "conv", "up")}),
        (
            "adapter",
            {"places": ["beside_mlp"], "blocks": [0]},
            {f"slots.0_beside_mlp.{m}.weight" for m in ("down", "up")},
        ),
        ("attentional_pooling", {}, {"pooling.kv.weight", "pooling.proj.weight"}),
        (
            "partial",
            {},
            {f"owned.block2.{layer}.weight" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")},
        ),
    ],
)
def test_one_rate_and_decay_of_matrices_alone(name: str, settings: dict[str, Any], decayed: set[str]) -> None:
    found = groups_of(name, settings)
    assert set(found) == {(1.0, 0.3), (1.0, 0.0)}
    assert found[1.0, 0.3] == decayed | {"head.weight"}


def test_partial_takes_a_rate_for_its_head() -> None:
    found = groups_of("partial", {"fresh_lr": 4})
    assert found[4.0, 0.3] == {"head.weight"}
    assert found[4.0, 0.0] == {"head.bias"}
    assert all(n.startswith("owned.") for n in found[1.0, 0.3] | found[1.0, 0.0])


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e9, "x"])
def test_multiples_that_cannot_be_meant_are_errors(value: object) -> None:
    with pytest.raises(UserError, match="fresh_lr"):
        make_method("full", {"fresh_lr": value})


def test_every_group_follows_the_schedule(small_runs: MakeRuns, tmp_path: Path) -> None:
    """After each step of the loop, every group has had the rate of that step, times its multiple."""
    (config,) = small_runs("full", changes=("recipe.warmup_epochs=0.5", "recipe.epochs=2"))
    lockstep = Lockstep([config], tmp_path, open_data(config.dataset, 0.25), load_backbone(config.backbone))
    (run,) = lockstep.trainees
    seen = []
    step = run.optimizer.step
    run.optimizer.step = lambda *a, **k: (
        seen.append([(g["lr_multiple"], g["lr"]) for g in run.optimizer.param_groups]),
        step(),
    )  # type: ignore[method-assign]
    lockstep.train()
    assert len(seen) == 12  # 48 clips in batches of 8, twice
    for at, rates in enumerate(seen):
        share = (at + 1) / 3 if at < 3 else 0.5 * (1 + math.cos(math.pi * (at - 3) / 9))
        assert {m for m, _ in rates} == {1.0, 10.0}
        for multiple, rate in rates:
            assert rate == pytest.approx(multiple * config.method.lr * share)


def test_a_first_step_moves_new_modules_ten_times_as_far() -> None:
    """Adam's first step is the learning rate itself, wherever the gradient is not next to nothing."""
    method = make_method("full")
    model = build(method, small_backbone(), 5)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(parameter_groups(method, model, 0.0), lr=1e-3)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * group["lr_multiple"]
    clips = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    nn.functional.cross_entropy(model(clips), torch.tensor([0, 3])).backward()
    optimizer.step()
    moved = {n: (p - before[n]).abs().max().item() for n, p in model.named_parameters()}
    assert moved["head.weight"] == pytest.approx(1e-2, rel=1e-3)
    assert moved["owned.vit.blocks.2.mlp.fc2.weight"] == pytest.approx(1e-3, rel=1e-3)
