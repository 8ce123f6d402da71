"""Run folders made up for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from petl_bench.records import RunRecord

CLASSES = ("left", "right", "up", "down")
PAIRS = ("left/right", "up/down")
BACKBONE_PARAMS = 1_000_000
HEAD = 516


def record(label: str = "st_adapter", seed: int = 0, top1: float = 90.0, **changes: Any) -> dict[str, Any]:
    """A finished run's record as JSON.

    Args:
        label: of the row, and the method's name.
        seed: of the run.
        top1: percent.
        changes: `dotted__paths=value`, two underscores for a dot; `params` is the trained parameters without
            the head, added to the backbone.
    """
    params = changes.pop("params", 67_000)
    data: dict[str, Any] = {
        "schema_version": 1,
        "status": "done",
        "suite": "demo",
        "dataset": "synth_motion",
        "label": label,
        "method": label,
        "backbone": "tiny_clip",
        "seed": seed,
        "order_blind": False,
        "metrics": {
            "top1": top1,
            "top5": None,
            "mean_class": top1 - 1,
            "pair_accuracy": top1,
            "n_test": 960,
            "validation_top1": top1,
            "per_class": dict.fromkeys(CLASSES, top1),
            "per_pair": dict.fromkeys(PAIRS, top1),
        },
        "cost": {
            "trainable_params": params + HEAD,
            "trainable_params_without_head": params,
            "total_params": BACKBONE_PARAMS + params + HEAD,
            "gflops_per_view": 0.25,
            "views": 1,
            "gflops": 0.25,
            "peak_memory_mb": 33.0,
            "peak_memory_source": "state + saved tensors",
            "compute_seconds": 100.0,
            "prefix_seconds": 20.0,
            "data_seconds": 10.0,
            "alone_seconds": 110.0,
            "step_ms": 20.0,
            "train_clips_per_second": 400.0,
            "test_clips_per_second": 600.0,
            "adapter_bytes": 270_000,
        },
        "selection": None,
        "provenance": {
            "petl_bench": "0.1.0",
            "git_commit": "0123456789abcdef",
            "git_dirty": False,
            "python": "3.11.7",
            "packages": {"torch": "2.11.0"},
            "platform": "Linux x86_64",
            "device": "cpu",
            "threads": 2,
            "precision": "fp32",
            "decoder": "decord 3.4.0",
            "backbone_sha256": "ab" * 32,
            "data_sha256": "cd" * 32,
            "clips": {"train": {"used": 900}, "test": {"used": 960}},
            "companions": [],
            "started": "2026-01-01T00:00:00Z",
        },
        "config": {
            "method": {"name": label, "label": label, "settings": {"width": 64}, "lr": 0.01},
            "dataset": {"name": "synth_motion", "classes": 4, "sampling": {"frames": 8}},
            "recipe": {"epochs": 4, "batch_size": 8, "lr": 0.001},
        },
    }
    for path, value in changes.items():
        node = data
        *parents, last = path.split("__")
        for key in parents:
            node = node[key]
        node[last] = value
    RunRecord.model_validate(data)  # a test of the report needs records that are right
    return data


SETTINGS: dict[str, Any] = {
    "width": None,
    "kernel": [3, 1, 1],
    "positions": ["before_attn"],
    "blocks": None,
}
WIDTH, DEPTH = 128, 4  # of the backbone that `adapter_params` counts for


def adapter_params(settings: dict[str, Any]) -> int:
    """Trained parameters of bottlenecks with a depthwise convolution, added up place by place."""
    w = settings["width"] or WIDTH // 2
    time, height, width = settings["kernel"]
    total = 0
    for _ in settings["blocks"] if settings["blocks"] is not None else range(DEPTH):
        for _ in settings["positions"]:
            total += WIDTH * w + w  # down
            total += w * time * height * width + w  # convolution
            total += w * WIDTH + WIDTH  # up
    return total


def variant(name: str, seed: int, top1: float, suite: str = "sweep", **changed: Any) -> dict[str, Any]:
    """A finished run of `st_adapter` with some settings changed; `name` follows the label's mark, "" for the base."""
    settings = {**SETTINGS, **changed}
    label = f"st_adapter@{name}" if name else "st_adapter"
    data = record(label, seed, top1, params=adapter_params(settings), suite=suite, method="st_adapter")
    data["settings"] = settings
    data["config"]["method"]["name"] = "st_adapter"
    return data


def write_run(results: Path, data: dict[str, Any], log: list[dict[str, Any]] | None = None) -> Path:
    """Write a record, and a log, where a run would. Returns the folder."""
    folder = results / data["suite"] / data["dataset"] / data["label"] / f"seed-{data['seed']}"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(data))
    if log is not None:
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return folder


def training_log(top1: float, epochs: int = 4, steps: int = 30) -> list[dict[str, Any]]:
    """A log whose validation top-1 rises in equal steps to `top1`, and whose loss is 1 / epoch."""
    lines: list[dict[str, Any]] = []
    for step in range(1, epochs * steps + 1):
        epoch = step / steps
        lines.append({"kind": "train", "step": step, "epoch": epoch, "loss": 1 / epoch, "lr": 1e-3})
        if step % steps == 0:
            value = top1 * epoch / epochs
            lines.append({"kind": "validation", "step": step, "epoch": epoch, "top1": value})
    return lines
