"""Times in a run's record, by a clock that moves only where work is done: whose work is it?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from video_files import numbered_frames, write_file

from petl_bench import adapted, backbone
from petl_bench.config import BackboneConfig, MethodConfig, Recipe, RunConfig
from petl_bench.costs import Profile
from petl_bench.data import Batch, loader
from petl_bench.data.loader import ClipReader
from petl_bench.dataset_config import DatasetConfig, ListSource, Sampling
from petl_bench.records import Cost, RunRecord
from petl_bench.suite import load_backbone_config
from petl_bench.train import clock, lockstep
from petl_bench.train.evaluate import Scored
from petl_bench.train.objective import Objective
from petl_bench.train.run import Options, run_all
from petl_bench.train.scribe import Scribe
from petl_bench.train.trainee import Spent, Trainee

# seconds that each piece of work takes
READ, MOVE, PIXELS, EMBED, BLOCK, LOSS = 0.5, 0.25, 0.125, 2.0, 1.0, 10.0
TRAIN, TEST, BATCH, BLOCKS = 6, 5, 2, 4


class Clockwork:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        told = SimpleNamespace(perf_counter=lambda: self.now, monotonic=lambda: self.now)
        for module in (clock, lockstep, loader):
            patch.setattr(module, "time", told)
        self.patch = patch

    def slow(self, owner: Any, name: str, seconds: float) -> None:
        """Let the clock move by `seconds` whenever `owner.name` is called."""
        real: Callable[..., Any] = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds
            return real(*args, **kwargs)

        self.patch.setattr(owner, name, called)


Finished = dict[str, tuple[RunRecord, Spent]]


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    for split, count in (("train", TRAIN), ("test", TEST)):
        lines = []
        for i in range(count):
            write_file(tmp_path / f"{split}{i}.mp4", numbered_frames(4, 64, 64, seed=i), preset="ultrafast")
            lines.append(f"{split}{i}.mp4 {i % 2}\n")
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    work = Clockwork(monkeypatch)
    work.slow(ClipReader, "read", READ)
    work.slow(Batch, "to_device", MOVE)
    work.slow(backbone.VideoViT, "pixels", PIXELS)
    work.slow(adapted, "embed", EMBED)
    work.slow(backbone, "run_block", BLOCK)
    work.slow(Objective, "loss", LOSS)
    data = DatasetConfig(
        name="d",
        summary="",
        classes=2,
        source=ListSource(kind="list"),
        root=str(tmp_path),
        sampling=Sampling(frames=2),
    )
    recipe = Recipe(epochs=1, batch_size=BATCH, precision="fp32", validation=0, head_dropout=0)
    vit: BackboneConfig = load_backbone_config("tiny_clip")
    configs = [
        RunConfig(suite="s", method=MethodConfig(name=name, label=name), dataset=data, backbone=vit,
                  recipe=recipe, seed=0)
        for name in ("full", "linear_probe", "partial", "st_adapter")
    ]  # fmt: skip
    real = Scribe._cost
    spent: dict[str, Spent] = {}

    def noting(self: Scribe, t: Trainee, *rest: Any) -> Cost:
        spent[t.label] = t.spent
        return real(self, t, *rest)

    monkeypatch.setattr(Scribe, "_cost", noting)
    found = run_all(configs, Options(out=tmp_path / "out", device="cpu", workers=0))
    return {record.label: (record, spent[record.label]) for record in found}


# what of the frozen network is computed for a method in a step, and what the method computes itself
PREFIX = {
    "full": PIXELS,  # it has a stem of its own
    "linear_probe": PIXELS + EMBED + BLOCKS * BLOCK,
    "partial": PIXELS + EMBED + (BLOCKS - 1) * BLOCK,
    "st_adapter": PIXELS + EMBED,
}
OWN = {"full": EMBED + BLOCKS * BLOCK, "linear_probe": 0.0, "partial": BLOCK, "st_adapter": BLOCKS * BLOCK}


def test_every_second_is_counted_once_and_for_the_right_method(finished: Finished) -> None:
    steps, batches = TRAIN // BATCH, -(-TEST // BATCH)
    assert set(finished) == set(PREFIX)
    for label, (record, spent) in finished.items():
        cost = record.cost
        assert cost is not None, label
        step = PREFIX[label] + OWN[label] + LOSS
        assert cost.prefix_seconds == pytest.approx(steps * PREFIX[label], abs=1e-3), label
        assert cost.compute_seconds == pytest.approx(steps * step, abs=1e-3), label
        # waiting for the two clips of a batch, and moving it to the device
        assert cost.data_seconds == pytest.approx(steps * (BATCH * READ + MOVE), abs=1e-3), label
        assert cost.alone_seconds == pytest.approx(cost.compute_seconds + cost.data_seconds, abs=1e-3), label
        assert cost.step_ms == pytest.approx(1000 * step, abs=1e-3), label
        assert cost.train_clips_per_second == pytest.approx(BATCH / step, abs=0.01), label
        assert spent.own == steps * (OWN[label] + LOSS) and spent.prefix == steps * PREFIX[label], label
        assert (spent.augment, spent.decode) == (steps * MOVE, steps * BATCH * READ), label
        assert spent.steps_ms == pytest.approx([1000 * step] * steps) and spent.sessions == 1, label
        tested = batches * (PREFIX[label] + OWN[label])
        assert cost.test_clips_per_second == pytest.approx(TEST / tested, abs=0.01), label
        assert (cost.views, cost.gflops) == (1, cost.gflops_per_view)


# --- what a method would take alone, with processes that decode


def cost_of(spent: Spent, workers: int, **views: int) -> Cost:
    """The cost that is written down for what was spent."""
    scribe = Scribe.__new__(Scribe)
    scribe.lockstep = SimpleNamespace(workers=workers, device=torch.device("cpu"))  # type: ignore[assignment]
    static = Profile(
        trainable_params=30,
        trainable_params_without_head=20,
        total_params=100,
        backbone_params=90,
        gflops_per_view=1.5,
        state_mb=1.0,
        adapter_bytes=120,
    )
    scribe.static = {"x": static}
    dataset = SimpleNamespace(views=SimpleNamespace(**{"temporal": 1, "spatial": 1, **views}))
    config = SimpleNamespace(dataset=dataset, recipe=SimpleNamespace(batch_size=4))
    trainee: Any = SimpleNamespace(config=config, spent=spent, label="x")
    return scribe._cost(trainee, Scored(np.zeros((9, 2)), np.zeros(9, dtype=np.int64), 2.0, 0.0), 77)


@pytest.mark.parametrize(
    ("decode", "workers", "alone"),
    [
        (40.0, 4, 16.0),  # 10 + 5 + 1 of the device, while 4 processes decode for 10 seconds
        (40.0, 2, 20.0),  # two take 20: the device waits
        (40.0, 1, 40.0),
        (40.0, 0, 18.0),  # nobody decodes beside it: 15, and the 3 seconds that it waited
    ],
)
def test_a_method_alone_waits_for_its_decoders(decode: float, workers: int, alone: float) -> None:
    spent = Spent(own=10.0, prefix=5.0, data=3.0, augment=1.0, decode=decode, steps_ms=[50.0, 10.0, 20.0])
    spent.peak_memory_mb = 12.34567
    cost = cost_of(spent, workers, temporal=5, spatial=3)
    assert (cost.compute_seconds, cost.prefix_seconds, cost.data_seconds) == (15.0, 5.0, 3.0)
    assert cost.alone_seconds == alone
    assert (cost.step_ms, cost.train_clips_per_second, cost.test_clips_per_second) == (20.0, 200.0, 4.5)
    assert (cost.views, cost.gflops, cost.gflops_per_view) == (15, 22.5, 1.5)
    assert (cost.trainable_params, cost.trainable_params_without_head, cost.total_params) == (30, 20, 100)
    assert (cost.peak_memory_mb, cost.adapter_bytes) == (12.346, 77)
