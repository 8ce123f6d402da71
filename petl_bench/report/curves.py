"""Training curves: `log.jsonl` of a row's runs as means over seeds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from petl_bench.report.collect import Row
from petl_bench.report.measure import Measure, measure

LOSS_POINTS = 40  # as many as a small panel can show
_MOST_LINES = 800  # training lines read of one log: 20 for each point
_LAST_STEP = 2**53

T = TypeVar("T")


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


@dataclass(frozen=True)
class _Points:
    """What one run logged of one quantity, (n,) each, by rising step."""

    steps: NDArray[np.int64]
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


def curves_of(row: Row) -> RowCurves:
    """The curves of a row; None for one of which nothing was logged."""
    logs = [_read(run.folder.log_file) for run in row.runs]
    return RowCurves(
        top1=_over_seeds([validation for validation, _ in logs]),
        loss=_over_seeds(_binned([train for _, train in logs])),
    )


# -- reading -----------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[_Points, _Points]:
    """(validation, train) points of a log.

    A resumed run logs the steps since its checkpoint again: the last line of a step counts. Of very long logs not
    all training lines are read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        text = b""
    return _points(text, "validation", "top1"), _points(text, "train", "loss")


def _form(kind: str, field: str) -> re.Pattern[bytes]:
    """Lines as a run writes them."""
    number = r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
    line = rf'^{{"kind": "{kind}", "step": (\d{{1,18}}), "epoch": {number}, "{field}": {number}(?:, [^\n{{}}]*)?}}$'
    return re.compile(line.encode(), re.MULTILINE)


_FORMS = {"validation": _form("validation", "top1"), "train": _form("train", "loss")}


def _points(text: bytes, kind: str, field: str) -> _Points:
    """Most of a large report's time goes here: lines of the usual form are not parsed as JSON."""
    mark = f'"{kind}"'.encode()
    found = _FORMS[kind].findall(text)
    if len(found) == text.count(mark) and _whole(text):
        steps, epochs, values = zip(*_thinned(found, kind), strict=True) if found else ((), (), ())
        points = _Points(
            np.array([*map(int, steps)], dtype=np.int64),
            np.array([*map(float, epochs)], dtype=np.float64),
            np.array([*map(float, values)], dtype=np.float64),
        )
        if (points.steps[1:] > points.steps[:-1]).all() and np.isfinite(points.values).all():
            return points
    lines = [line for line in text.decode(errors="replace").splitlines() if f'"{kind}"' in line]
    return _salvaged(_parsed(_thinned(lines, kind)), kind, field)


def _whole(text: bytes) -> bool:
    """Whether the last line is not torn."""
    return not text or text.endswith((b"}\n", b"}"))


def _thinned(lines: list[T], kind: str) -> list[T]:
    return lines[:: math.ceil(len(lines) / _MOST_LINES) or 1] if kind == "train" else lines


def _salvaged(entries: Sequence[Any], kind: str, field: str) -> _Points:
    """What can be used of a log that has lines of another form."""
    out: dict[int, tuple[float, float]] = {}
    for entry in entries:
        try:
            step, value = int(entry["step"]), float(entry[field])
            if entry["kind"] == kind and math.isfinite(value) and abs(step) < _LAST_STEP:
                out[step] = float(entry["epoch"]), value
        except (ValueError, KeyError, TypeError, OverflowError):  # a line of another kind, or not ours
            continue
    steps = sorted(out)
    table = np.array([out[step] for step in steps], dtype=np.float64).reshape(-1, 2)
    return _Points(np.array(steps, dtype=np.int64), table[:, 0], table[:, 1])


def _parsed(lines: Sequence[str]) -> list[Any]:
    try:  # all at once is several times faster than line by line
        return list(json.loads(f"[{','.join(lines)}]"))
    except json.JSONDecodeError:  # a torn line among them
        out = []
        for line in lines:
            with suppress(json.JSONDecodeError):
                out.append(json.loads(line))
        return out


# -- averaging ---------------------------------------------------------------------------------------


def _binned(logs: Sequence[_Points]) -> list[_Points]:
    """Losses of single batches are noise: means over equal stretches of training."""
    plans: dict[bytes, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = {}
    out = []
    for points in logs:
        if len(points.steps) <= LOSS_POINTS:
            out.append(points)
            continue
        key = points.steps.tobytes()  # nearly always the same in all seeds
        if key not in plans:
            plans[key] = _bins(points.steps)
        bins, starts, counts = plans[key]
        epochs, values = (np.add.reduceat(x, starts) / counts for x in (points.epochs, points.values))
        out.append(_Points(bins, epochs, values))
    return out


def _bins(steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(number of each bin that holds a step, where in `steps` it begins, how many it holds)."""
    place = np.minimum(steps * LOSS_POINTS // (steps[-1] + 1), LOSS_POINTS - 1)
    bins, starts, counts = np.unique(place, return_index=True, return_counts=True)
    return bins, starts, counts


def _over_seeds(logs: Sequence[_Points]) -> Curve | None:
    """Mean over seeds at the steps that all of them logged: a seed that ends early must not bend the mean."""
    logs = [points for points in logs if len(points.steps)]
    if not logs:
        return None
    every = {points.steps.tobytes(): points.steps for points in logs}
    steps = reduce(np.intersect1d, every.values())
    if not len(steps):
        return None
    rows = [
        (points.epochs, points.values)
        if len(points.steps) == len(steps)
        else (points.epochs[at], points.values[at])
        for points in logs
        for at in (np.searchsorted(points.steps, steps),)
    ]
    epochs, values = (np.stack([row[i] for row in rows], axis=1).tolist() for i in (0, 1))
    means = [math.fsum(column) / len(column) for column in epochs]
    return Curve(tuple(means), tuple(v for v in map(measure, values) if v is not None))
