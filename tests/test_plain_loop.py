"""The loop against one in plain PyTorch, with a recipe none of whose fields has its default.

What may differ is rounding: the loss, the clipping and AdamW are written out there, and fused here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from plain_loop import PlainRun, percent_right, train_plainly
from safetensors.torch import load_file
from torch import Tensor

from petl_bench.backbone import load_backbone
from petl_bench.config import BackboneConfig, MethodConfig, Recipe, RunConfig
from petl_bench.data import VideoData, open_data
from petl_bench.dataset_config import DatasetConfig
from petl_bench.records import Metrics, RunRecord
from petl_bench.results import RunFolder
from petl_bench.train import lockstep
from petl_bench.train.evaluate import Scored
from petl_bench.train.run import Options, run_all

METHODS = {
    "linear_probe": MethodConfig(name="linear_probe", lr=0.05),
    "attentional_pooling": MethodConfig(name="attentional_pooling"),
    "prompt": MethodConfig(name="prompt", settings={"number": 3, "dropout": 0.2}),
    "lora": MethodConfig(name="lora", settings={"rank": 4}),
    "st_adapter": MethodConfig(name="st_adapter", lr=0.1, settings={"width": 16}),
    "partial": MethodConfig(name="partial", settings={"fresh_lr": 3.0}),
    "temporal": MethodConfig(name="temporal", settings={"fresh_lr": 2.0}),
    "full": MethodConfig(name="full", lr=0.002),
}
SEED, OTHER_SEED = 3, 11
RUNS = [(name, SEED) for name in METHODS] + [(name, OTHER_SEED) for name in ("prompt", "st_adapter")]
RECIPE = Recipe(
    epochs=3,
    batch_size=4,
    lr=0.02,
    lr_batch=16,
    warmup_epochs=1.2,
    weight_decay=0.3,
    betas=(0.8, 0.95),
    label_smoothing=0.15,
    grad_clip=3.0,
    head_dropout=0.3,
    precision="fp32",
    validation=0.25,
    validate_every=2,
    test_batch_size=5,
)
CLASSES = 3
ORDERS = ("kept", "reversed", "shuffled")

Key = tuple[str, int]  # method, seed


@dataclass
class Runs:
    """What the package made of the configs."""

    data: VideoData
    out: Path
    configs: dict[Key, RunConfig]
    records: dict[Key, RunRecord]
    scored: dict[Key, list[Scored]]  # two validations, then the tests in three orders

    def weights(self, key: Key) -> dict[str, Tensor]:
        return load_file(RunFolder.of(self.out, self.configs[key]).adapter_file)

    def log(self, key: Key) -> list[dict[str, float]]:
        return RunFolder.of(self.out, self.configs[key]).read_log()

    def metrics(self, key: Key) -> Metrics:
        metrics = self.records[key].metrics
        assert metrics is not None
        return metrics


@pytest.fixture(scope="module")
def runs(squares: DatasetConfig, tiny: BackboneConfig, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    out = tmp_path_factory.mktemp("out")
    configs = {
        (name, seed): RunConfig(
            suite="plain", method=METHODS[name], dataset=squares, backbone=tiny, recipe=RECIPE, seed=seed
        )
        for name, seed in RUNS
    }
    scored: dict[Key, list[Scored]] = {key: [] for key in RUNS}
    evaluate = lockstep.evaluate

    def heard(trainees: list[lockstep.Trainee], *args: object, **options: object) -> object:
        seeds = {t.label: t.seed for t in trainees}
        found = evaluate(trainees, *args, **options)  # type: ignore[arg-type]
        for label, s in found[0].items():
            scored[label, seeds[label]].append(s)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lockstep, "evaluate", heard)
        records = run_all(list(configs.values()), Options(out, workers=0))
    assert [r.error for r in records] == [None] * len(configs)
    data = open_data(squares, RECIPE.validation)
    return Runs(data, out, configs, dict(zip(configs, records, strict=True)), scored)


@pytest.fixture(scope="module")
def plain(runs: Runs, tiny: BackboneConfig) -> Callable[[Key], PlainRun]:
    data, vit = runs.data, load_backbone(tiny)
    clips = (data.train.clips, data.validation.clips, data.test.clips)
    assert [len(c) for c in clips] == [26, 9, 17]  # two are left over in each epoch of six batches
    done: dict[Key, PlainRun] = {}

    def run(key: Key) -> PlainRun:
        if key not in done:
            done[key] = train_plainly(runs.configs[key], vit, *clips)
        return done[key]

    return run


by_key = pytest.mark.parametrize("key", RUNS, ids=lambda key: f"{key[0]}-{key[1]}")


def without_key_biases(name: str, value: Tensor) -> Tensor:
    """The gradient of a key's bias is zero but for rounding, and Adam makes whole steps of that."""
    if name.endswith("qkv.bias"):
        query, _, own = value.chunk(3)
        return torch.cat([query, own])
    return value.chunk(2)[1] if name == "pooling.kv.bias" else value


@by_key
def test_weights(key: Key, runs: Runs, plain: Callable[[Key], PlainRun]) -> None:
    ours, theirs = runs.weights(key), plain(key).weights
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        expected = without_key_biases(name, value)
        torch.testing.assert_close(
            without_key_biases(name, ours[name]), expected, atol=2e-5, rtol=0, msg=name
        )


@by_key
def test_log(key: Key, runs: Runs, plain: Callable[[Key], PlainRun]) -> None:
    """Lines after 6, 10, 12 and 18 steps: mean loss and top-1 since the last, the rate of the last step. Validations
    after the second and the last epoch."""
    expected = []
    for line in plain(key).lines:
        place = {"step": line["step"], "epoch": pytest.approx(line["step"] / 6, abs=1e-4)}
        if "top1" in line:
            values = {"top1": pytest.approx(line["top1"], abs=1e-3)}
            expected.append({"kind": "validation", **place, **values})
        else:
            values = {
                "loss": pytest.approx(line["loss"], abs=2e-5),
                "lr": pytest.approx(line["lr"], rel=1e-9),
                "train_top1": pytest.approx(line["train_top1"], abs=6e-3),
            }
            expected.append({"kind": "train", **place, **values})
    assert [line["step"] for line in expected] == [6, 10, 12, 12, 18, 18]
    assert runs.log(key) == expected


@by_key
def test_scores(key: Key, runs: Runs, plain: Callable[[Key], PlainRun]) -> None:
    """Of each clip, in every pass: two validations, and the test in three orders of the frames."""
    passes = [*plain(key).validations, *(plain(key).tests[order] for order in ORDERS)]
    assert len(runs.scored[key]) == len(passes) == 5
    for n, (ours, theirs) in enumerate(zip(runs.scored[key], passes, strict=True)):
        clips = runs.data.validation.clips if n < 2 else runs.data.test.clips
        assert ours.labels.tolist() == [clip.label for clip in clips]
        np.testing.assert_allclose(ours.scores, theirs, atol=1e-5, rtol=0)
        assert ours.top1 == pytest.approx(percent_right(theirs, clips))


@by_key
def test_metrics(key: Key, runs: Runs, plain: Callable[[Key], PlainRun]) -> None:
    tests, validations = plain(key).tests, plain(key).validations
    top1 = {order: pytest.approx(percent_right(tests[order], runs.data.test.clips)) for order in ORDERS}
    metrics = runs.metrics(key)
    assert metrics.n_test == 17
    assert (metrics.top1, metrics.top1_reversed, metrics.top1_shuffled) == tuple(top1.values())
    assert metrics.validation_top1 == pytest.approx(
        percent_right(validations[-1], runs.data.validation.clips)
    )


@pytest.mark.parametrize("name", METHODS)
def test_records(name: str, runs: Runs) -> None:
    """Parameters by the files and the backbone's own count; clips; who trained together."""
    record, weights = runs.records[name, SEED], runs.weights((name, SEED))
    cost, provenance = record.cost, record.provenance
    assert cost is not None
    assert provenance is not None
    own = sum(value.numel() for value in weights.values())
    copies = sum(v.numel() for n, v in weights.items() if n.startswith("owned."))
    frozen = sum(p.numel() for p in load_backbone(runs.configs[name, SEED].backbone).parameters())
    head = 64 * CLASSES + CLASSES
    assert (cost.trainable_params, cost.trainable_params_without_head) == (own, own - head)
    assert cost.total_params == frozen + own - copies  # a copy replaces what it copies
    assert cost.adapter_bytes == RunFolder.of(runs.out, runs.configs[name, SEED]).adapter_file.stat().st_size
    assert (cost.views, cost.gflops) == (3, pytest.approx(3 * cost.gflops_per_view))
    assert provenance.companions == [label for label, seed in RUNS if seed == SEED]
    used = {split: clips.used for split, clips in provenance.clips.items()}
    assert used == {"train": 26, "validation": 9, "test": 17}
    assert {(c.skipped, c.unreadable) for c in provenance.clips.values()} == {(0, 0)}
    assert (provenance.precision, provenance.augment_on, provenance.sessions) == ("float32", "workers", 1)
    assert provenance.ended is not None
    assert provenance.started <= provenance.ended
    assert provenance.data_sha256 == runs.data.sha256
    assert (record.seed, record.method, record.label, record.suite) == (SEED, name, name, "plain")
    assert record.order_blind == (name not in ("st_adapter", "temporal", "full"))
    assert METHODS[name].settings.items() <= record.settings.items()


def test_the_recipe_is_felt(plain: Callable[[Key], PlainRun]) -> None:
    """What the comparison rests on: gradients above and below the limit, methods that see the order of frames, and
    seeds with batches of their own."""
    norms = plain(("st_adapter", SEED)).norms
    assert min(norms) < 3 < max(norms)
    for name in ("st_adapter", "temporal", "full"):
        kept, turned, mixed = (plain((name, SEED)).tests[order] for order in ORDERS)
        for one, other in ((kept, turned), (kept, mixed), (turned, mixed)):
            assert np.abs(one - other).max() > 5e-5
    one, other = (plain(("st_adapter", seed)).batches for seed in (SEED, OTHER_SEED))
    epochs = [one[:6], one[6:12], one[12:], other[:6], other[6:12], other[12:]]
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert all(len({p for batch in epoch for p in batch}) == 24 for epoch in epochs)
