"""Frozen weights held in bf16 give the numbers that autocast gives, and come back as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import load_backbone
from petl_bench.config import RunConfig
from petl_bench.contract import random_clips
from petl_bench.method import build, make_method
from petl_bench.registry import builtin_names
from petl_bench.results import RunFolder
from petl_bench.suite import load_backbone_config
from petl_bench.train.memory import step_memory
from petl_bench.train.run import Options, run_all


def logits_and_gradients(model: AdaptedViT, clips: Tensor) -> list[Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(clips)
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.arange(len(clips)))
        return [logits, *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("name", builtin_names())
def test_the_same_numbers_as_autocast(name: str) -> None:
    backbone = load_backbone(load_backbone_config("tiny_clip", {}))
    model = build(make_method(name), backbone, 5).train()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    clips, weights = random_clips(backbone), backbone.weights_sha256()
    cast = logits_and_gradients(model, clips)
    with backbone.held_in(torch.bfloat16):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        held = logits_and_gradients(model, clips)
    for mine, its in zip(held, cast, strict=True):
        assert torch.equal(mine, its)
    assert backbone.weights_sha256() == weights
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def test_less_memory_and_back_after_an_error() -> None:
    backbone = load_backbone(load_backbone_config("tiny_clip", {}))
    model = build(make_method("linear_probe"), backbone, 5)
    clips, labels = random_clips(backbone), torch.zeros(2, dtype=torch.int64)
    given = (model, clips, labels, torch.nn.functional.cross_entropy, torch.bfloat16)
    before, weights = step_memory(*given), backbone.weights_sha256()
    matrices = sum(m.weight.numel() for m in backbone.modules() if hasattr(m, "in_features"))
    with backbone.held_in(torch.bfloat16):
        assert before - step_memory(*given) > 2 * matrices / 2**20
    with pytest.raises(ZeroDivisionError), backbone.held_in(torch.bfloat16):
        raise ZeroDivisionError
    assert backbone.weights_sha256() == weights
    with backbone.held_in(torch.float32):
        assert step_memory(*given) == before


def test_a_second_lockstep_copies_whole_weights(
    tmp_path: Path, small_runs: Callable[..., list[RunConfig]]
) -> None:
    """Methods that train copies of frozen weights start from float32, whatever ran before on the same backbone."""
    few = (
        "dataset.source.train_clips=16",
        "dataset.source.test_clips=16",
        "recipe.validation=0",
        "recipe.epochs=1",
    )
    bf16 = ("recipe.precision=bf16", *few)
    first, second = small_runs("full", seeds=(0, 1), changes=bf16)
    (beside,) = small_runs("st_adapter", changes=bf16)  # runs on the frozen weights themselves
    records = run_all([first, beside, second], Options(tmp_path / "both", workers=0))
    assert [r.status for r in records] == 3 * ["done"]
    run_all([second], Options(tmp_path / "alone", workers=0))
    states = [
        torch.load(RunFolder.of(tmp_path / out, second).adapter_file, weights_only=True)
        for out in ("both", "alone")
    ]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    hashes = {r.provenance.backbone_sha256 for r in records if r.provenance is not None}
    assert hashes == {load_backbone(first.backbone).weights_sha256()}
