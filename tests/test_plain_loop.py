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
from numpy.typing import NDArray
from plain_loop import PlainRun, percent_right, train_plainly
from safetensors.torch import load_file
from tiny_clips import add_tiny_models, save_as, tiny_clip
from torch import Tensor
from video_files import write_file

from petl_bench.backbone import load_backbone
from petl_bench.config import BackboneConfig, MethodConfig, Recipe, RunConfig
from petl_bench.data import VideoData, open_data
from petl_bench.dataset_config import Augment, DatasetConfig, ListSource, Sampling, Views
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
SIZE, CLASSES = 32, 3
WAYS = ((0, 32), (32, 0), (16, 16))  # of the square, from left to left, by class
ORDERS = ("kept", "reversed", "shuffled")

Key = tuple[str, int]  # method, seed


def moving_square(label: int, number: int) -> NDArray[np.uint8]:
    """(12, 32, 44, 3): a bright square that goes right, goes left or stays, on noise."""
    rng = np.random.default_rng((label, number))
    frames = rng.integers(30, 110, (12, SIZE, 44, 3), dtype=np.uint8)
    top, color = int(rng.integers(SIZE - 12)), rng.integers(150, 256, 3)
    for frame, left in zip(frames, np.linspace(*WAYS[label], 12).astype(int), strict=True):
        frame[top : top + 12, left : left + 12] = color
    return frames


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
def backbone(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    """A CLIP of two blocks with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    add_tiny_models(folder)
    file = save_as(tiny_clip(), folder / "plain.safetensors")
    return BackboneConfig(
        name="tiny", summary="", source="open_clip", model="ViT-tiny-quickgelu", weights=str(file),
        activation="quick_gelu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetConfig:
    root = tmp_path_factory.mktemp("squares")
    for split, count in (("train", 35), ("test", 17)):
        lines = []
        for number in range(count):
            label, file = number % CLASSES, f"{split}/{number}.mp4"
            frames = moving_square(label, 100 * (split == "test") + number)
            write_file(root / file, frames, preset="ultrafast")
            lines.append(f"{file} {label}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return DatasetConfig(
        name="squares",
        summary="",
        classes=CLASSES,
        source=ListSource(kind="list"),
        root=str(root),
        sampling=Sampling(frames=4),
        augment=Augment(crop="jitter", jitter=(1.0, 1.0), flip=True),
        views=Views(spatial=3),
    )


@pytest.fixture(scope="module")
def runs(dataset: DatasetConfig, backbone: BackboneConfig, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    out = tmp_path_factory.mktemp("out")
    configs = {
        (name, seed): RunConfig(
            suite="plain", method=METHODS[name], dataset=dataset, backbone=backbone, recipe=RECIPE, seed=seed
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
    data = open_data(dataset, RECIPE.validation)
    return Runs(data, out, configs, dict(zip(configs, records, strict=True)), scored)


@pytest.fixture(scope="module")
def plain(runs: Runs, backbone: BackboneConfig) -> Callable[[Key], PlainRun]:
    data, vit = runs.data, load_backbone(backbone)
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
