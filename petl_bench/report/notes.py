"""What a reader must know beside the numbers of a table, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from petl_bench.report.collect import Comparison, Row
from petl_bench.report.table import BLIND


def findings(comparison: Comparison) -> list[str]:
    """How sure the numbers are, and whether the order-blind methods keep to their ceiling."""
    rows = comparison.rows
    if not rows:
        return []
    return [*_spread(rows), *_blind(rows)]


def _spread(rows: Sequence[Row]) -> list[str]:
    counts = sorted({row.n for row in rows})
    if counts == [1]:
        return ["n = 1: one seed each. The spread is not known, and small differences may be chance."]
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"n seeds ({counts[0]} to {counts[-1]})"
    notes = [f"Accuracies are mean ± sample standard deviation over {seeds}; costs are means."]
    single = [row.label for row in rows if row.n == 1]
    if single:
        notes.append(f"n = 1, so the spread is not known: {', '.join(single)}.")
    return notes


def _blind(rows: Sequence[Row]) -> list[str]:
    """The check that needs no reference: an order-blind method above its ceiling means a leak or a bug."""
    if not any(row.order_blind for row in rows):
        return []
    mark = f"{BLIND} blind to the order of frames by construction."
    scored = [(row.pair.mean, row) for row in rows if row.order_blind and row.pair]
    if not scored:
        return [mark]
    best, row = max(scored, key=lambda pair: pair[0])
    # two standard errors of a coin thrown once for each test clip (the seeds share the clips)
    clips = row.runs[0].metrics.n_test
    slack = 100 / clips**0.5 if clips else 0.0
    text = f"{mark} Within time-reversed pairs they reach at most {best:.1f} % ({row.label}): "
    if best <= 50 + slack:
        return [text + "their ceiling of 50 % holds."]
    return [text + f"above their ceiling of 50 % by more than chance (± {slack:.1f}). Look for a leak."]


def legend(comparison: Comparison) -> list[str]:
    """What the columns mean."""
    views = sorted({row.runs[0].cost.views for row in comparison.rows})
    said = ", ".join(map(str, views))
    notes = [
        "trained: parameters that train, without the head (the classifier); with head: all of them; "
        "share: of the backbone's parameters, without the head.",
        f"GFLOPs: multiply-adds of one test clip, all views ({said}). memory: peak of a training step.",
        "train: the method's own training compute, with the frozen part that it uses; alone: with the "
        "data loading too, as if it were trained alone. Both are for one seed.",
    ]
    if any(row.paper_top1 for row in comparison.rows):
        notes.append("paper top-1: published, measured by others under their own conditions; sources below.")
    return notes


def not_counted(comparison: Comparison) -> list[str]:
    """The runs that are not in the table, a line each: running, failed, missing."""
    lines = []
    for run in comparison.unfinished:
        r = run.record
        lines.append(f"{r.label}, seed {r.seed}: {r.status}" + (f" ({_error(r.error)})" if r.error else ""))
    seeds_of: dict[str, list[int]] = {}
    for label, seed in comparison.missing:
        seeds_of.setdefault(label, []).append(seed)
    for label, seeds in seeds_of.items():
        lines.append(f"{label}, seed {', '.join(map(str, seeds))}: missing, though other rows have it")
    return lines


def _error(text: str, most: int = 160) -> str:
    """The line that says what went wrong: the last of a traceback, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    line = lines[-1 if lines[0].startswith("Traceback") else 0]
    return line if len(line) <= most else line[: most - 1] + "…"
