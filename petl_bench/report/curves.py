"""Training curves: `log.jsonl` of a row's runs as means over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from petl_bench.report.collect import Row
from petl_bench.report.measure import Measure, measure

LOSS_POINTS = 40  # as many as a small panel can show
_MOST_LINES = 4000  # training lines read of one log: thousands of runs are reported in seconds


@dataclass(frozen=True)
class Curve:
    """A quantity along training.

    Attributes:
        epochs: position of each point, in epochs.
        values: mean and spread over the seeds at each point.
    """

    epochs: tuple[float, ...]
    values: tuple[Measure, ...]


@dataclass(frozen=True)
class RowCurves:
    """What a row's runs logged while training. `top1` is in percent, on the validation part."""

    top1: Curve | None
    loss: Curve | None


def curves_of(row: Row) -> RowCurves:
    """The curves of a row; None for one of which nothing was logged."""
    logs = [_read(run.folder.log_file) for run in row.runs]
    return RowCurves(
        top1=_over_seeds([validation for validation, _ in logs]),
        loss=_over_seeds([_binned(train) for _, train in logs]),
    )


def _read(path: Path) -> tuple[dict[int, tuple[float, float]], dict[int, tuple[float, float]]]:
    """(validation, train) points of a log: step -> (epoch, value).

    A resumed run logs the steps since its checkpoint again: the last line of a step counts. The kind is
    looked for in the text first: most lines are training steps, and parsing them all would take most of
    the time.
    """
    points: dict[str, dict[int, tuple[float, float]]] = {"validation": {}, "train": {}}
    if not path.exists():
        return points["validation"], points["train"]
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    validation = [line for line in lines if '"validation"' in line]
    train = [line for line in lines if '"train"' in line]
    for line in validation + train[:: math.ceil(len(train) / _MOST_LINES) or 1]:
        try:
            entry = json.loads(line)
            kind = entry["kind"]
            value = float(entry["top1" if kind == "validation" else "loss"])
            point = int(entry["step"]), (float(entry["epoch"]), value)
        except (ValueError, KeyError, TypeError):  # a torn last line
            continue
        if kind in points and math.isfinite(value):
            points[kind][point[0]] = point[1]
    return points["validation"], points["train"]


def _binned(points: dict[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Losses of single batches are noise: means over equal stretches of training."""
    if len(points) <= LOSS_POINTS:
        return points
    last = max(points)
    bins: dict[int, list[tuple[float, float]]] = {}
    for step, point in points.items():
        bins.setdefault(min(step * LOSS_POINTS // (last + 1), LOSS_POINTS - 1), []).append(point)
    return {i: (_mean([e for e, _ in group]), _mean([v for _, v in group])) for i, group in bins.items()}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _over_seeds(logs: Sequence[dict[int, tuple[float, float]]]) -> Curve | None:
    """Mean over seeds at the steps that all of them logged: a seed that ends early must not bend the mean."""
    logs = [log for log in logs if log]
    steps = sorted(set.intersection(*(set(log) for log in logs))) if logs else []
    if not steps:
        return None
    values = [measure(log[step][1] for log in logs) for step in steps]
    epochs = [_mean([log[step][0] for log in logs]) for step in steps]
    return Curve(tuple(epochs), tuple(v for v in values if v is not None))
