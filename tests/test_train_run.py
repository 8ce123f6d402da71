"""What runs together, on which device, with how many workers, and how a run is asked to stop."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from petl_bench.backbone import load_backbone
from petl_bench.config import BackboneConfig, MethodConfig, Recipe, RunConfig
from petl_bench.data import VideoData, open_data
from petl_bench.dataset_config import DatasetConfig
from petl_bench.errors import UserError
from petl_bench.train import run as runner
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.run import Interrupted, Options, choose_device, run_all
from petl_bench.train.scribe import Scribe


def test_only_runs_on_the_same_batches_are_in_one_lockstep(
    tmp_path: Path, squares: DatasetConfig, tiny: BackboneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed, recipe, data set and backbone part them; the method and its learning rate do not."""
    groups: list[list[str]] = []

    def noted(configs: list[RunConfig], data: VideoData, *rest: object) -> None:
        groups.append([f"{c.method.label} {c.seed}" for c in configs])
        assert all(c.dataset == data.config for c in configs)

    monkeypatch.setattr(runner, "_run_group", noted)
    monkeypatch.setattr(runner, "load_backbone", lambda config: torch.nn.Linear(1, 1))
    recipe = Recipe(epochs=1, batch_size=4)

    def config(name: str, seed: int, lr: float | None = None, **changes: Any) -> RunConfig:
        method = MethodConfig(name=name, lr=lr)
        base = {"dataset": squares, "backbone": tiny, "recipe": recipe}
        return RunConfig(suite="s", method=method, seed=seed, **{**base, **changes})

    runs = [
        config("prompt", 5),
        config("prompt", 0),
        config("lora", 5, lr=0.5),
        config("partial", 5, recipe=recipe.model_copy(update={"weight_decay": 0.2})),
        config("temporal", 5, dataset=squares.model_copy(update={"fraction": 0.5})),
        config("adapter", 5, backbone=tiny.model_copy(update={"weights": "random"})),
        config("full", 5),
    ]
    run_all(runs, Options(tmp_path, workers=0))
    assert groups == [
        ["prompt 5", "lora 5", "full 5"],
        ["prompt 0"],
        ["partial 5"],
        ["temporal 5"],
        ["adapter 5"],
    ]


@pytest.mark.parametrize(
    ("cores", "gpu", "workers"),
    [
        *((None, "cpu", 0), (1, "cpu", 0), (2, "cpu", 1), (7, "cpu", 3), (64, "cpu", 4)),
        *((None, "cuda", 1), (1, "cuda", 1), (4, "cuda", 3), (64, "cuda", 8)),
    ],
)
def test_workers_by_cores(cores: int | None, gpu: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert runner._default_workers(torch.device(gpu)) == workers


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = {name: str(choose_device(name)) for name in ("auto", "cpu", "cuda", "cuda:1")}
    assert chosen == {"auto": "cuda", "cpu": "cpu", "cuda": "cuda", "cuda:1": "cuda:1"}
    for name, said in (("cuda:2", "torch sees 2 GPUs"), ("mps", "not supported"), ("tpu7", "not a device")):
        with pytest.raises(UserError, match=f"--device {name}: {said}"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert str(choose_device("auto")) == "cpu"
    with pytest.raises(UserError, match="torch sees 0 GPUs"):
        choose_device("cuda")


def test_precision_on_a_cpu(tmp_path: Path, squares: DatasetConfig, tiny: BackboneConfig) -> None:
    """bf16 where it is asked for, and nowhere else; the record says it."""
    found = {}
    for asked in ("auto", "fp32", "bf16"):
        recipe = Recipe.model_validate({"epochs": 1, "batch_size": 4, "precision": asked})
        config = RunConfig(
            suite=asked,
            method=MethodConfig(name="prompt"),
            dataset=squares,
            backbone=tiny,
            recipe=recipe,
            seed=0,
        )
        running = Lockstep([config], tmp_path, open_data(squares, 0.1), load_backbone(tiny))
        found[asked] = running.precision
        assert Scribe(running, "auto").base["precision"] == str(running.precision).removeprefix("torch.")
    assert found == {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait_for_the_step(number: signal.Signals) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with runner._stop_on_signals() as stop:
        stop()
        signal.raise_signal(number)
        with pytest.raises(Interrupted):
            stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_leave_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), list[Any]()

    def train() -> None:
        with runner._stop_on_signals() as stop:
            stop()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [before]
