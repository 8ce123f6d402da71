"""Training curves: `log.jsonl` of a row's runs as means over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.report.collect import Row
from petl_bench.report.measure import Measure, measure

LOSS_POINTS = 40  # as many as a small panel can show
_MOST_LINES = 800  # training lines read of one log: 20 for each point


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


Points = dict[int, tuple[float, float]]  # step -> (epoch, value)


def _read(path: Path) -> tuple[Points, Points]:
    """(validation, train) points of a log.

    A resumed run logs the steps since its checkpoint again: the last line of a step counts. The kind is
    looked for in the text first: most lines are training steps, and of very long logs not all are read.
    """
    if not path.exists():
        return {}, {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    train = [line for line in lines if '"train"' in line]
    train = train[:: math.ceil(len(train) / _MOST_LINES) or 1]
    validation = [line for line in lines if '"validation"' in line]
    return _points(validation, "validation", "top1"), _points(train, "train", "loss")


def _points(lines: Sequence[str], kind: str, field: str) -> Points:
    entries = _parsed(lines)
    try:  # nearly every log is in order, and most of a large report's time goes here
        return {
            entry["step"]: (entry["epoch"], value)
            for entry in entries
            if entry["kind"] == kind and math.isfinite(value := entry[field])
        }
    except (KeyError, TypeError):
        return _salvaged(entries, kind, field)


def _salvaged(entries: Sequence[Any], kind: str, field: str) -> Points:
    """What can be used of a log that has lines of another form."""
    out: Points = {}
    for entry in entries:
        try:
            value = float(entry[field])
            if entry["kind"] == kind and math.isfinite(value):
                out[int(entry["step"])] = float(entry["epoch"]), value
        except (ValueError, KeyError, TypeError):  # a line of another kind, or not ours
            continue
    return out


def _parsed(lines: Sequence[str]) -> list[Any]:
    try:  # all at once is several times faster than line by line
        return list(json.loads(f"[{','.join(lines)}]"))
    except json.JSONDecodeError:  # a torn line among them
        out = []
        for line in lines:
            with suppress(json.JSONDecodeError):
                out.append(json.loads(line))
        return out


def _binned(points: Points) -> Points:
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


def _over_seeds(logs: Sequence[Points]) -> Curve | None:
    """Mean over seeds at the steps that all of them logged: a seed that ends early must not bend the mean."""
    logs = [log for log in logs if log]
    steps = sorted(set.intersection(*(set(log) for log in logs))) if logs else []
    if not steps:
        return None
    values = [measure(log[step][1] for log in logs) for step in steps]
    epochs = [_mean([log[step][0] for log in logs]) for step in steps]
    return Curve(tuple(epochs), tuple(v for v in values if v is not None))
