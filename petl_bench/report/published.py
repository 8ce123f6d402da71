"""Published numbers beside ours, and all that are known of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from petl_bench.report.collect import Comparison, Row
from petl_bench.report.grid import Grid, columns_of
from petl_bench.report.measure import count, digits
from petl_bench.report.paper_numbers import Paper, PaperNumber, comparable

_NAMES = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "verb_top1": "verb top-1 %",
    "noun_top1": "noun top-1 %",
    "gflops": "GFLOPs",
    "trainable_params": "trained parameters, with head",
    "trainable_share": "share of the backbone %",
    "times_fewer": "times fewer trained parameters",
}


def published_grids(comparison: Comparison, paper: Paper) -> list[Grid]:
    """The tables of published numbers for one data set; none where nothing is known of its rows."""
    here = [number for number in paper.numbers if number.dataset == comparison.dataset]
    beside = _beside(comparison.rows, empty=bool(here))
    return [grid for grid in (beside, _known(here)) if grid]


def _beside(rows: Sequence[Row], empty: bool) -> Grid | None:
    """Ours and theirs, a line for each number. `empty`: rows of which no top-1 is known have a line, too."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        for number in row.paper:
            for field, value in number.values().items():
                ours = _ours(row, field)
                differ = ours is not None and comparable(number, field)
                lines.append(
                    (
                        row.label,
                        _NAMES[field],
                        _shown(field, ours),
                        _as_said(field, value),
                        _difference(field, ours - value) if differ and ours is not None else "",
                        _terms(number),
                        number.source,
                    )
                )
        if empty and row.paper_top1 is None:
            lines.append((row.label, _NAMES["top1"], _shown("top1", row.top1.mean), "", "", "", ""))
    if not lines:
        return None
    head = ("method", "what", "ours", "published", "ours - published", "named conditions", "source")
    return Grid(
        "Beside the published numbers",
        "Published: measured by others under their own conditions, of a method with the row's settings. A difference "
        "stands where data set and frames are named, too, and agree; parameters need neither. Empty cells are not "
        "known: `--paper FILE` fills them.",
        head,
        tuple(lines),
        left=2,
        last=2,
    )


def _known(numbers: Sequence[PaperNumber]) -> Grid | None:
    """Everything that is known of a data set, whether it was run here or not."""
    if not numbers:
        return None
    fields = [f for f in _NAMES if any(f in n.values() for n in numbers)]
    lines = [
        (
            number.name or number.label or number.method,
            number.backbone,
            str(number.frames or ""),
            str(number.views or ""),
            *(_as_said(f, number.values()[f]) if f in number.values() else "" for f in fields),
            number.note or "",
            number.source,
        )
        for number in numbers
    ]
    head = ("method", "backbone", "frames", "views", *(_NAMES[f] for f in fields), "note", "source")
    kept = columns_of(lines, head, left=2)
    return Grid(
        "Published numbers on this data set",
        "Under every protocol, run here or not. Empty: the source does not say.",
        kept[0],
        kept[1:],
        left=2,
        last=2 if "note" in kept[0] else 1,
    )


def _ours(row: Row, field: str) -> float | None:
    if field == "top1":
        return row.top1.mean
    if field == "top5":
        return row.top5.mean if row.top5 else None
    if field == "trainable_share":
        return row.share
    if field in row.cost:
        return row.cost[field].mean
    head, _, _ = field.partition("_")
    values = [run.metrics.heads[head].top1 for run in row.runs if head in run.metrics.heads]
    return sum(values) / len(values) if values else None


def _shown(field: str, value: float | None) -> str:
    if value is None:
        return ""
    if field == "trainable_params":
        return count(value)
    return f"{value:.1f}" if field.endswith(("top1", "top5")) else digits(value)


def _as_said(field: str, value: float) -> str:
    """No digits that the source did not give."""
    if field == "trainable_params":
        return f"{value / 1e6:g}M"
    return f"{value:.1f}" if field.endswith(("top1", "top5")) else f"{value:g}"


def _difference(field: str, value: float) -> str:
    if field == "trainable_params":
        return f"{value / 1e6:+.2f}M"
    return f"{value:+.1f}"


def _terms(number: PaperNumber) -> str:
    terms = [f"{n} {what}" for n, what in ((number.frames, "frames"), (number.views, "views")) if n]
    terms += [] if number.dataset else ["no data set named"]
    terms += [] if number.frames or not number.dataset else ["no frames named"]
    return ", ".join([*terms, number.note] if number.note else terms)
