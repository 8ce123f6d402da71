"""Verdicts as tables: for a terminal, for a page, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from petl_bench.report.claim_needs import Command, command, needed
from petl_bench.report.claims import Claim
from petl_bench.report.intervals import Interval
from petl_bench.report.judge import NO_RUN, Contrast, Judged, too_few
from petl_bench.report.measure import digits
from petl_bench.report.table import csv_text, markdown_table

NOT_ENOUGH = "not enough runs"
_COLOR = {"supported": "green", "not supported": "red", "undecided": "yellow"}
HOW = (
    "Paired over seeds; mean and 95 % t-interval in brackets. Supported: the whole interval lies on the claimed side "
    "of the limit; not supported: on the other side; undecided: it holds the limit. Of several comparisons the one "
    "that speaks least for the claim is shown, and all must hold; `claims.csv` has every one."
)


def numbers_text(claim: Claim, contrast: Contrast | None) -> str:
    """`+3.2 [1.0, 5.4]`, `0.56 [0.50, 0.62]` for ratios, `7.64` for counts."""
    found = contrast.interval if contrast else None
    if found is None:
        return ""
    mean, *limits = (
        _number(claim, v, signed=i == 0) for i, v in enumerate((found.mean, found.low, found.high))
    )
    return mean if found.low == found.high else f"{mean} [{limits[0]}, {limits[1]}]"


def limit_text(claim: Claim) -> str:
    """`> -1 points`, `< 8 %`, `< 1 x`, `within 2 points`."""
    unit = {"trained_share": " %"}.get(claim.measure, " x" if claim.kind == "ratio" else " points")
    sign = ">" if claim.above is not None else "<" if claim.below is not None else "within"
    return f"{sign} {claim.limit:g}{unit}"


def _number(claim: Claim, value: float | None, signed: bool) -> str:
    if value is None:
        return ""
    if claim.kind == "ratio" or claim.measure == "trained_share":
        return f"{value:.2f}"
    if claim.measure in ("top1", "shuffled_drop"):
        return f"{value:+.1f}" if signed and (claim.than or claim.among) else f"{value:.1f}"
    return digits(value)


@dataclass(frozen=True)
class ClaimsTable:
    """The verdicts of a suite for a terminal, with what is missing below."""

    suite: str
    judged: tuple[Judged, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for (dataset, backbone), group in groupby(self.judged, key=lambda j: (j.dataset, j.backbone)):
            yield Text(f"Claims: {self.suite} / {dataset} ({backbone})", style="bold")
            every = list(group)
            decided = [j for j in every if j.contrasts and j.contrasts[-1].interval]
            if decided:
                yield self._table(decided)
            for line in missing_lines(every):
                yield Text(f"{NOT_ENOUGH}: {line}", style="dim")
            yield Text("")

    def _table(self, judged: Sequence[Judged]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("claim", ratio=1)
        table.add_column("verdict", no_wrap=True)
        table.add_column("mean [95 %]", no_wrap=True, justify="right")
        table.add_column("limit", no_wrap=True)
        table.add_column("n", no_wrap=True, justify="right")
        for j in judged:
            first = j.contrasts[0] if j.contrasts else None
            table.add_row(
                j.claim.id,
                j.claim.statement,
                Text(j.verdict, style=_COLOR.get(j.verdict, "dim")),
                numbers_text(j.claim, first),
                limit_text(j.claim).removesuffix(" points"),
                str(len(first.numbers.values)) if first else "",
            )
        return table


def missing_lines(judged: Sequence[Judged]) -> list[str]:
    """What is missing, a line for each command that would make it; those that differ in methods alone are one."""
    groups: dict[tuple[str, str, bool] | None, list[Judged]] = {}
    commands: dict[tuple[str, str, bool] | None, Command] = {}
    for j in judged:
        if j.verdict == NOT_ENOUGH:
            run = needed(j)
            key = run.key if run else None
            groups.setdefault(key, []).append(j)
            if run:
                commands[key] = commands[key].with_methods_of(run) if key in commands else run
    lines = []
    for key, group in groups.items():
        texts = dict.fromkeys(text for j in group for text in _reasons(j))
        rows = [text.removeprefix(NO_RUN) for text in texts if text.startswith(NO_RUN)]
        said = [f"{NO_RUN}{', '.join(rows)}"] if rows else []
        said += [text for text in texts if not text.startswith(NO_RUN)]
        line = f"{', '.join(j.claim.id for j in group)}: {'; '.join(said)}"
        lines.append(f"{line}. To run: {commands[key]}" if key in commands else line)
    return lines


def _reasons(judged: Judged) -> list[str]:
    """What a claim lacks. Which comparison has too few seeds is no matter where all that it has were counted: the
    same is true of others then, and `claims.csv` has each."""
    short = {
        too_few(judged.claim, c): f"{len(c.numbers.values)} of the {judged.claim.runs} seeds that are needed"
        for c in judged.contrasts
        if not c.numbers.dropped
    }
    return [short.get(text, text) for text in judged.missing]


def claims_markdown(judged: Sequence[Judged], with_suite: bool = False) -> str:
    """A row for each claim, data set and backbone; without those of which there is no number at all."""
    head = ["claim", "statement", *(["suite"] if with_suite else []), "data set", "backbone", "verdict"]
    head += ["least favourable comparison", "mean [95 %]", "limit", "n"]
    lines = []
    for j in judged:
        if not (j.contrasts and j.contrasts[-1].interval):
            continue
        first = j.contrasts[0]
        lines.append(
            [
                j.claim.id,
                j.claim.statement,
                *([j.suite] if with_suite else []),
                j.dataset,
                j.backbone,
                f"**{j.verdict}**" if j.verdict == "supported" else j.verdict,
                first.name,
                numbers_text(j.claim, first),
                limit_text(j.claim),
                str(len(first.numbers.values)),
            ]
        )
    return markdown_table(head, lines, left=len(head) - 3) if lines else ""


def claims_csv(judged: Sequence[Judged]) -> str:
    """A line for each comparison, and for each claim without one; raw numbers."""
    head = ["suite", "dataset", "backbone", "claim", "finding", "statement", "verdict", "comparison"]
    head += [
        "comparison_verdict",
        "n",
        "seeds",
        "mean",
        "low",
        "high",
        "limit",
        "dropped",
        "missing",
        "command",
    ]
    lines: list[list[Any]] = []
    for j in judged:
        start = [j.suite, j.dataset, j.backbone, j.claim.id, j.claim.finding, j.claim.statement, j.verdict]
        end = ["; ".join(j.missing), command(j)]
        for contrast in j.contrasts or (None,):
            lines.append([*start, *_raw(contrast, limit_text(j.claim)), *end])
    return csv_text(head, lines)


def _raw(contrast: Contrast | None, limit: str) -> list[Any]:
    if contrast is None:
        return [None, None, 0, None, None, None, None, limit, None]
    found: Interval | None = contrast.interval
    numbers = [found.mean, found.low, found.high] if found else [None] * 3
    seeds = " ".join(map(str, contrast.numbers.values))
    dropped = "; ".join(contrast.numbers.dropped)
    return [contrast.name, contrast.verdict, len(contrast.numbers.values), seeds, *numbers, limit, dropped]
