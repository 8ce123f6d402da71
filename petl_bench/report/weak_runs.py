"""Runs whose numbers say little: nothing was learned, or too few steps and clips to tell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from petl_bench.report.chance import above_chance, two_errors
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.runs import Run

Seeds = dict[str, list[int]]  # label -> seeds
FEW_STEPS = 100
UNLEARNED = 0.9  # of the loss of guessing; runs that learn end well below, those that do not at 0.97 to 1.01
_TAIL = 4096  # bytes of a log: the last lines, some forty
_LAST = 10  # lines


def weak_runs(comparison: Comparison) -> dict[str, dict[str, Seeds]]:
    """Headline -> what is wrong -> the runs of which it is so."""
    rows = comparison.rows
    return {
        "Accuracies are not above chance": _found(rows, lambda run: _guesses(run, comparison.chance)),
        "Training losses stayed at those of guessing": _found(
            rows, lambda run: _unlearned(run, comparison.classes)
        ),
        "Trained for few steps": _found(rows, _few_steps),
        "Measured on few clips": _found(rows, _few_clips),
    }


def _found(rows: Sequence[Row], say: Callable[[Run], Iterator[str]]) -> dict[str, Seeds]:
    found: dict[str, Seeds] = {}
    for run in (run for row in rows for run in row.runs):
        for text in say(run):
            found.setdefault(text, {}).setdefault(run.record.label, []).append(run.record.seed)
    return found


def _guesses(run: Run, chance: float | None) -> Iterator[str]:
    """The mean over classes counts, too: naming the largest class alone may have any top-1."""
    clips = run.metrics.n_test
    if chance is None or not clips:
        return
    for what, accuracy in (("top-1", run.metrics.top1), ("mean class accuracy", run.metrics.mean_class)):
        if not above_chance(accuracy, chance, clips):
            yield (
                f"{what}: within two standard errors of chance, {chance:.1f} ± {two_errors(chance, clips):.1f} %, "
                "or below,"
            )
            return


def _unlearned(run: Run, classes: int | None) -> Iterator[str]:
    """The loss of guessing is ln(classes); with several heads the sum of theirs, ln of the product."""
    loss = last_loss(run.folder.log_file)
    if loss is None or not classes:
        return
    guessing = math.log(classes)
    if loss >= UNLEARNED * guessing:
        yield f"last training losses: above {100 * UNLEARNED:g} % of ln({classes}) = {guessing:.2f}"


def last_loss(log: Path) -> float | None:
    """The mean training loss of the last fifth of a log's lines, at most ten; None where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    losses = []
    for line in lines:
        try:  # the first line of the tail is cut, the last may be torn
            entry = json.loads(line)
            if entry["kind"] == "train":
                losses.append(float(entry["loss"]))
        except (ValueError, KeyError, TypeError):
            continue
    last = losses[-min(_LAST, math.ceil(len(losses) / 5)) :] if losses else []
    return math.fsum(last) / len(last) if last else None


def _few_steps(run: Run) -> Iterator[str]:
    steps = steps_of(run)
    if steps is not None and steps < FEW_STEPS:
        yield f"{steps} step{'' if steps == 1 else 's'}"


def steps_of(run: Run) -> int | None:
    """Optimizer steps of a run, from its recipe and its training clips: an epoch drops an incomplete last batch,
    unless it is the only one."""
    p = run.record.provenance
    epochs, batch = (run.setting("recipe", field) for field in ("epochs", "batch_size"))
    if p is None or "train" not in p.clips or not epochs or not batch:
        return None
    clips = p.clips["train"].used + p.clips["train"].unreadable
    return int(epochs * max(1, clips // batch))


def _few_clips(run: Run) -> Iterator[str]:
    p = run.record.provenance
    sizes = {
        "test": run.metrics.n_test,
        "validation": p.clips["validation"].used if p and "validation" in p.clips else 0,
    }
    for part, clips in sizes.items():
        if clips and float(f"{100 / clips:.1f}") > 1:
            yield f"{clips} {part} clip{'' if clips == 1 else 's'}: one clip is {100 / clips:.1f} points of accuracy"
