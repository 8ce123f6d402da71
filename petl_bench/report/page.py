"""`report.md`: the tables, the pictures, and under which conditions all of it was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from petl_bench.report.cautions import Caution
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.columns import COLUMNS
from petl_bench.report.conditions import conditions
from petl_bench.report.grid import Grid
from petl_bench.report.notes import findings, legend, not_counted
from petl_bench.report.prose import bullets, prose
from petl_bench.report.sweeps import main_rows
from petl_bench.report.table import comparison_markdown, markdown_escape, markdown_table
from petl_bench.report.write_studies import Study

# the first table answers the question, the second holds the rest
_FIRST = {"backbone", "to_paper", "n", "top1", "paper", "pair", "trained", "share", "gflops", "compute"}


def page(suite: str, contents: Mapping[str, str], claims: str, sections: Sequence[str]) -> str:
    """The whole page.

    Args:
        suite: its name.
        contents: data set -> what was found on it, in a sentence.
        claims: the section of the paper's claims, empty where there is none.
        sections: the text of each data set, from `section`.
    """
    head = f"# Report: {suite}\n\n" + prose(
        f"Made by `petl-bench report {suite}` from the run folders under `results/{suite}/`. Below each table stand "
        "the conditions under which it was measured."
    )
    items = [f"[{name}](#{_anchor(name)}){f': {said}' if said else ''}" for name, said in contents.items()]
    if claims:
        items.append("[Claims](#claims): what these runs say of the paper's findings")
    return "\n".join([head, bullets(items), *([claims] if claims else []), *sections])


def section(
    comparison: Comparison,
    cautions: Sequence[Caution],
    pictures: Mapping[str, str],
    studies: Sequence[Study],
    published: Sequence[Grid],
    files: Sequence[str],
) -> str:
    """One data set.

    Args:
        comparison: the rows; those that only stand in a study are not in the main table.
        cautions: what keeps them from being comparable, shown first.
        pictures: file name of each picture -> what it shows.
        studies: tables and pictures of settings, shares of the data and orders of frames.
        published: tables of published numbers.
        files: the other files written for this data set.
    """
    whole, comparison = comparison, main_rows(comparison)
    parts = [f"## {comparison.name}\n", *map(_caution, cautions)]
    if not comparison.rows:
        return "\n".join([*parts, "No run on this data set is finished yet.\n", *_not_counted(comparison)])
    parts.append(comparison_markdown(comparison, _FIRST))
    parts.append(bullets([*findings(comparison), *legend(comparison)]))
    parts += _pictures(comparison, pictures)
    for study in studies:
        parts += [f"### {study.grid.title}\n", study.grid.markdown(), prose(study.grid.text)]
        shown = {path.name: says for path, says in study.pictures.items() if path.suffix == ".png"}
        parts += _pictures(comparison, shown)
    rest = comparison_markdown(comparison, {c.key for c in COLUMNS} - _FIRST)
    parts += [
        "### More measurements\n",
        rest,
        prose("As files: " + ", ".join(f"[{f}]({f})" for f in files) + "."),
    ]
    parts += _learning_rates(whole.rows)
    for grid in published:
        parts += [f"### {grid.title}\n", grid.markdown(), prose(grid.text)]
    parts += _not_counted(comparison)
    parts += ["### Conditions\n", bullets([f"{k}: {v}" for k, v in conditions(whole.rows)])]
    return "\n".join(parts)


def _pictures(comparison: Comparison, pictures: Mapping[str, str]) -> list[str]:
    """A picture's first words are the data set, which the heading has said."""
    lines = []
    for name, says in pictures.items():
        alt = re.sub(r"([\[\]])", r"\\\1", says.removeprefix(f"{comparison.name}: "))
        lines.append(f"![{alt}]({name})\n")
    return lines


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _caution(caution: Caution) -> str:
    headline = f"> **Warning: {caution.headline[0].lower()}{caution.headline[1:]}.**\n>\n"
    return headline + bullets(caution.lines, prefix="> ")


def _not_counted(comparison: Comparison) -> list[str]:
    lines = not_counted(comparison)
    return ["### Not in the table\n", bullets([markdown_escape(line) for line in lines])] if lines else []


def _learning_rates(rows: Sequence[Row]) -> list[str]:
    """The grid of every row whose rate was searched: validation top-1, the rate that was used in bold."""
    searched = [(row, s) for row in rows if (s := row.runs[0].record.selection)]
    if not searched:
        text = (
            "None was searched: every row has the rate of its recipe or of its command. `petl-bench tune` gives all "
            "methods one grid on the validation part."
        )
        return ["### Learning rates\n", prose(text)] if rows else []
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
        prose(text),
        markdown_table(["method", *(f"{r:g}" for r in grid)], lines),
    ]
