"""The table of one data set as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Sequence
from typing import Any

from petl_bench.records import Metrics
from petl_bench.report.collect import COST_FIELDS, Comparison, Row
from petl_bench.report.columns import best, used_columns
from petl_bench.report.measure import Measure
from petl_bench.report.runs import Run

BLIND = "°"
METRIC_FIELDS = tuple(f for f in Metrics.model_fields if f not in ("heads", "per_class", "per_pair"))
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "°": r"$^{\circ}$",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, last: int = 0) -> str:
    """A Markdown table whose columns are padded, so that it reads as a table in any editor.

    Args:
        head: names of the columns.
        rows: cells, each as long as `head`.
        left: how many columns stand to the left; the others are numbers and stand to the right.
        last: how many columns at the end stand to the left, too.
    """
    texts = {*range(left), *range(len(head) - last, len(head))}
    cells = [[markdown_escape(c) for c in line] for line in [head, *rows]]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(head))]
    rule = ["-" * w if i in texts else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [
        [c.ljust(w) if i in texts else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in cells
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in [lines[0], rule, *lines[1:]])


def markdown_escape(text: str) -> str:
    """Text for a cell: pipes and line ends would break the table."""
    return text.replace("|", "\\|").replace("\n", " ")


def comparison_markdown(comparison: Comparison, keys: Container[str] | None = None) -> str:
    """The table: rows by falling top-1, the best in bold, order-blind methods with a degree sign.

    Args:
        comparison: the rows.
        keys: the columns that are wanted; default: all that have something to show.
    """
    columns = [c for c in used_columns(comparison.rows) if keys is None or c.key in keys]
    top = best(comparison)
    head = ["method", *(f"{c.head} {c.unit}".strip() for c in columns)]
    lines = []
    for row in comparison.rows:
        cells = [c.cell(row) for c in columns]
        if row.label in top:
            cells = [
                f"**{text}**" if c.key == "top1" else text for c, text in zip(columns, cells, strict=True)
            ]
        lines.append([row.label + (f" {BLIND}" if row.order_blind else ""), *cells])
    return markdown_table(head, lines)


def latex_escape(text: str) -> str:
    """Text with LaTeX's special characters made plain."""
    return "".join(_LATEX.get(c, c) for c in text)


def comparison_latex(comparison: Comparison, notes: Sequence[str]) -> str:
    r"""A booktabs table that compiles with `\usepackage{booktabs}`; the notes are comments at its head."""
    columns = used_columns(comparison.rows)
    top = best(comparison)
    out = [f"% {note}" for note in notes]
    out += [
        "% needs \\usepackage{booktabs}; wide: \\usepackage{graphicx} and \\resizebox{\\linewidth}{!}{...}"
    ]
    out += [f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", "\\toprule"]
    out.append(" & ".join(["method", *(latex_escape(c.head) for c in columns)]) + " \\\\")
    out.append(" & ".join(["", *(latex_escape(c.unit) for c in columns)]) + " \\\\")
    out.append("\\midrule")
    for row in comparison.rows:
        cells = [f"\\texttt{{{latex_escape(row.label)}}}" + (latex_escape(BLIND) if row.order_blind else "")]
        for column in columns:
            text = latex_escape(column.cell(row))
            if column.key == "top1" and row.label in top:
                mean, *spread = text.split(" ", 1)
                text = " ".join([f"\\textbf{{{mean}}}", *spread])
            cells.append(text)
        out.append(" & ".join(cells) + " \\\\")
    return "\n".join([*out, "\\bottomrule", "\\end{tabular}", ""])


def comparison_csv(comparison: Comparison) -> str:
    """One line per row, raw numbers: mean, std and n of every metric and cost."""
    measured = ["top1", "top5", "mean_class", "pair_accuracy", *COST_FIELDS]
    head = ["label", "method", "backbone", "order_blind", "n", "seeds"]
    head += [f"{name}_{part}" for name in measured for part in ("mean", "std", "n")]
    head += ["backbone_share_percent", "paper_top1", "paper_source", "top1_minus_paper"]
    lines = []
    for row in comparison.rows:
        values = {"top1": row.top1, "top5": row.top5, "mean_class": row.mean_class, "pair_accuracy": row.pair}
        line: list[Any] = [row.label, row.method, row.backbone, row.order_blind, row.n]
        line.append(" ".join(str(run.record.seed) for run in row.runs))
        for name in measured:
            line += _parts(values[name] if name in values else row.cost.get(name))
        number = row.paper_top1
        line += [row.share, number.top1 if number else None, number.source if number else None]
        line.append(row.paper_difference)
        lines.append(line)
    return csv_text(head, lines)


def runs_csv(runs: Sequence[Run]) -> str:
    """One line per run, finished or not, with where it lies under the results folder."""
    conditions = ["device", "threads", "precision", "decoder", "git_commit", "backbone_sha256", "data_sha256"]
    head = ["label", "method", "backbone", "seed", "status", "error", "learning_rate"]
    head += [*METRIC_FIELDS, *COST_FIELDS, *conditions, "folder"]
    lines = []
    for run in runs:
        r = run.record
        line: list[Any] = [r.label, r.method, r.backbone, r.seed, r.status, r.error, run.learning_rate]
        line += [getattr(r.metrics, name, None) for name in METRIC_FIELDS]
        line += [getattr(r.cost, name, None) for name in COST_FIELDS]
        line += [getattr(r.provenance, name, None) for name in conditions]
        lines.append([*line, run.where])
    return csv_text(head, lines)


def per_class_csv(rows: Sequence[Row]) -> str:
    """Long form: a line for each (label, class or pair)."""
    lines: list[list[Any]] = []
    for row in rows:
        for kind, values in (("class", row.per_class), ("pair", row.per_pair)):
            lines += [[row.label, kind, name, *_parts(m)] for name, m in values.items()]
    return csv_text(["label", "kind", "name", "accuracy_mean", "accuracy_std", "accuracy_n"], lines)


def _parts(value: Measure | None) -> list[Any]:
    return [None, None, None] if value is None else [value.mean, value.std, value.n]


def csv_text(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Comma-separated values: numbers with ten digits, nothing for None."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_raw(value) for value in line] for line in lines)
    return buffer.getvalue()


def _raw(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # ten digits: more than was measured, and the same on every platform
        return f"{value:.10g}"
    return "" if value is None else value
