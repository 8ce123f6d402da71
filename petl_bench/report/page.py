"""`report.md`: the tables, the pictures, and under which conditions all of it was measured."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from petl_bench.report.cautions import Caution
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.columns import COLUMNS
from petl_bench.report.conditions import conditions
from petl_bench.report.notes import findings, legend, not_counted
from petl_bench.report.table import comparison_markdown, markdown_escape, markdown_table

_WIDTH = 110
# the first table answers the question, the second holds the rest
_FIRST = {"n", "top1", "paper", "pair", "trained", "share", "gflops", "compute"}
_PAPER_NAMES = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "verb_top1": "verb top-1 %",
    "noun_top1": "noun top-1 %",
    "gflops": "GFLOPs",
    "trainable_params": "trained parameters, with head",
    "trainable_share": "share of the backbone %",
}


def page(suite: str, contents: Mapping[str, str], sections: Sequence[str]) -> str:
    """The whole page.

    Args:
        suite: its name.
        contents: data set -> what was found on it, in a sentence.
        sections: the text of each data set, from `section`.
    """
    head = f"# Report: {suite}\n\n" + _prose(
        f"Made by `petl-bench report {suite}` from the run folders under `results/{suite}/`. Below each table stand "
        "the conditions under which it was measured."
    )
    items = [f"[{name}](#{_anchor(name)}){f': {said}' if said else ''}" for name, said in contents.items()]
    return "\n".join([head, _bullets(items), *sections])


def section(
    comparison: Comparison, cautions: Sequence[Caution], pictures: Mapping[str, str], files: Sequence[str]
) -> str:
    """One data set.

    Args:
        comparison: the rows.
        cautions: what keeps them from being comparable, shown first.
        pictures: file name of each picture -> what it shows.
        files: the other files written for this data set.
    """
    parts = [f"## {comparison.dataset}\n", *map(_caution, cautions)]
    if not comparison.rows:
        return "\n".join([*parts, "No run on this data set is finished yet.\n", *_not_counted(comparison)])
    parts.append(comparison_markdown(comparison, _FIRST))
    parts.append(_bullets([*findings(comparison), *legend(comparison)]))
    # a picture's first words are the data set, which the heading has said
    for name, says in pictures.items():
        alt = re.sub(r"([\[\]])", r"\\\1", says.removeprefix(f"{comparison.dataset}: "))
        parts.append(f"![{alt}]({name})\n")
    rest = comparison_markdown(comparison, {c.key for c in COLUMNS} - _FIRST)
    parts += [
        "### More measurements\n",
        rest,
        _prose("As files: " + ", ".join(f"[{f}]({f})" for f in files) + "."),
    ]
    parts += _learning_rates(comparison.rows)
    parts += _paper(comparison.rows)
    parts += _not_counted(comparison)
    parts += ["### Conditions\n", _bullets([f"{k}: {v}" for k, v in conditions(comparison.rows)])]
    return "\n".join(parts)


def file_name(text: str) -> str:
    """A name that is safe in a path and in a link."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _prose(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _bullets(items: Sequence[str], prefix: str = "") -> str:
    wrapper = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=prefix + "- ",
        subsequent_indent=prefix + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(wrapper.fill(item) + "\n" for item in items)


def _caution(caution: Caution) -> str:
    headline = f"> **Warning: {caution.headline[0].lower()}{caution.headline[1:]}.**\n>\n"
    return headline + _bullets(caution.lines, prefix="> ")


def _not_counted(comparison: Comparison) -> list[str]:
    lines = not_counted(comparison)
    return ["### Not in the table\n", _bullets([markdown_escape(line) for line in lines])] if lines else []


def _learning_rates(rows: Sequence[Row]) -> list[str]:
    """The grid of every row whose rate was searched: validation top-1, the rate that was used in bold."""
    searched = [(row, s) for row in rows if (s := row.runs[0].record.selection)]
    if not searched:
        return []
    grid = sorted({rate for _, s in searched for rate in s.grid})
    lines: list[list[str]] = []
    edge: list[str] = []
    worse: list[str] = []
    for row, selection in searched:
        scores = {float(text): value for text, value in selection.validation_top1.items()}
        used = row.runs[0].learning_rate
        cells = [f"{scores[rate]:.1f}" if rate in scores else "" for rate in grid]
        lines.append(
            [row.label, *(f"**{c}**" if c and r == used else c for r, c in zip(grid, cells, strict=True))]
        )
        if used in (min(selection.grid), max(selection.grid)) and len(selection.grid) > 2:
            edge.append(row.label)
        if used is not None and scores and scores.get(used, float("-inf")) < max(scores.values()):
            worse.append(f"{row.label} ({used:g})")
    seeds = ", ".join(map(str, sorted({s.seed for _, s in searched})))
    sources = ", ".join(f"`{source}`" for source in sorted({s.source for _, s in searched}))
    text = (
        f"Validation top-1 in percent after training with each rate (seed {seeds}); the rate that was used is in "
        f"bold. The test split played no part. The whole search: {sources}."
    )
    if edge:
        text += f" At the edge of the grid, so that a better rate may lie outside: {', '.join(edge)}."
    if worse:
        text += f" Used another rate than the best of the grid: {', '.join(worse)}."
    return [
        "### Learning rates\n",
        _prose(text),
        markdown_table(["method", *(f"{r:g}" for r in grid)], lines),
    ]


def _as_said(name: str, value: float) -> str:
    """No digits that the source did not give."""
    if name == "trainable_params":
        return f"{value / 1e6:g}M"
    return f"{value:.1f}" if name.endswith(("top1", "top5")) else f"{value:g}"


def _paper(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        for number in row.paper:
            values = ", ".join(
                f"{_PAPER_NAMES[name]} {_as_said(name, v)}" for name, v in number.values().items()
            )
            terms = [f"{n} {what}" for n, what in ((number.frames, "frames"), (number.views, "views")) if n]
            terms += [number.note] if number.note else []
            lines.append([row.label, values, ", ".join(terms), number.source])
    table = markdown_table(["method", "published", "conditions", "source"], lines, left=4)
    return ["### Published numbers\n", table] if lines else []
