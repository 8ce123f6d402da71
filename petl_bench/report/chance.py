"""What is too close to chance, or to one another, to be told apart on few test clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from petl_bench.report.collect import Row

APART = 2  # test clips that two accuracies must differ by, for one of them to be called higher


def two_errors(chance: float, clips: int) -> float:
    """Two standard errors of guessing, in points: of a binomial share of `clips`, each right with `chance` percent."""
    p = chance / 100
    return 200 * math.sqrt(p * (1 - p) / clips) if clips else math.inf


def above_chance(accuracy: float, chance: float, clips: int) -> bool:
    """Whether an accuracy is above chance by more than two standard errors. All but `clips` in percent."""
    return (
        accuracy - chance > two_errors(chance, clips) + 1e-9
    )  # equal to the limit, but for rounding, is within


def clips_tested(rows: Sequence[Row]) -> int:
    """Of the run that was tested on the fewest; 0 where there is none."""
    return min((run.metrics.n_test for row in rows for run in row.runs), default=0)


def clips_of(rows: Sequence[Row], split: str) -> int:
    """Clips of a part of the data that every run used; 0 where a run does not say."""
    used = [
        p.clips[split].used if p and split in p.clips else 0
        for row in rows
        for p in (run.record.provenance for run in row.runs)
    ]
    return min(used, default=0)


def none_above_chance(rows: Sequence[Row], chance: float | None) -> str | None:
    """What there is to say where no row is above chance: `no method is above chance: ...`; else None."""
    clips = clips_tested(rows)
    best = max((row.top1.mean for row in rows), default=None)
    if chance is None or best is None or not clips or above_chance(best, chance, clips):
        return None
    who = f"{rows[0].label} is not" if len(rows) == 1 else "no method is"
    at_most = "" if len(rows) == 1 else "at most "
    return (
        f"{who} above chance: {at_most}{best:.1f} % top-1, where guessing has {chance:.1f} ± "
        f"{two_errors(chance, clips):.1f} %"
    )


def apart(clips: float) -> float:
    """Points of accuracy that are no more than `APART` clips; 0 where the number of clips is not known."""
    return 100 * APART / clips + 1e-9 if clips else 0.0


def ahead(accuracies: Mapping[str, float], clips: int) -> list[str]:
    """The names that cannot be told from the best: within two clips of it, or printed alike. Best first.

    Args:
        accuracies: name -> percent.
        clips: that they were measured on; 0 where that is not known.
    """
    order = sorted(accuracies, key=lambda name: -accuracies[name])
    best = accuracies[order[0]]
    reach = apart(clips)
    return [
        name
        for name in order
        if best - accuracies[name] <= reach or f"{accuracies[name]:.1f}" == f"{best:.1f}"
    ]


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a`, `a and b`, `a, b and c`, `4 methods`."""
    if len(names) > most:
        return f"{len(names)} methods"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def close(accuracies: Mapping[str, float], names: Sequence[str]) -> str | None:
    """That the best, several `names` of `ahead`, are too close to name one; None where one is alone or all are
    printed alike."""
    values = sorted({f"{accuracies[name]:.1f}" for name in names}, key=float)
    if len(values) < 2:
        return None
    span = f"{values[0]} to {values[-1]} %"
    if len(names) == len(accuracies):
        both = "both" if len(names) == 2 else f"all {len(names)}"
        return f"no method is ahead: {both} are within two clips of the best ({span})"
    return f"{listed(names)} are ahead, within two clips of one another ({span})"
