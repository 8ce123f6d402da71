"""Accuracy within pairs of time-reversed classes: a small panel per row, beside the order-blind ceiling."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petl_bench.report.chance import ahead, clips_tested, listed, two_errors
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.figure import (
    FONT,
    INK,
    RULE,
    SMALL,
    WIDTH,
    Colors,
    new_figure,
    settle,
    shorten,
    text_size,
    title,
)

MOST_PANELS = 12
_NARROWEST = 105.0  # of a panel, points


def pair_dots(comparison: Comparison, colors: Colors) -> Figure | None:
    """The picture; None where the classes have no pairs."""
    every = [row for row in comparison.rows if row.per_pair]
    if not every:
        return None
    rows = every[:MOST_PANELS]
    pairs = _hard_last(every)
    # long names stand in two lines
    broken = max(map(len, pairs)) > 24
    names = [pair.replace("/", " /\n" if broken else " / ") for pair in pairs]
    room = WIDTH * 72 - 30 - max(text_size(line, SMALL)[0] for name in names for line in name.split("\n"))
    widest = max(_NARROWEST, *(text_size(row.label, FONT)[0] + 10 for row in rows))
    across = max(1, min(4, len(rows), int(room / widest)))
    down = math.ceil(len(rows) / across)
    figure = new_figure(1.5 + down * (0.45 + (0.36 if broken else 0.21) * len(pairs)))
    title(figure, _headline(comparison.name, every), _how(every))
    panels = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for panel, row in zip(panels, rows, strict=False):
        _dots(panel, row, pairs, colors[row.label][0])
        panel.set_title(shorten(row.label, room / across, FONT), fontsize=FONT, loc="left", color=INK, pad=4)
        panel.set_yticks(range(len(pairs)), names, color=INK, fontsize=SMALL)
    for panel in panels[len(rows) :]:
        panel.set_visible(False)
    figure.supxlabel("accuracy within the pair, %", fontsize=FONT, color=INK)
    settle(figure)
    return figure


def _dots(panel: Axes, row: Row, pairs: Sequence[str], color: str) -> None:
    panel.axvline(50, color=RULE, lw=1.2, ls=(0, (4, 3)), zorder=1)
    marker, size = ("o", 6.5) if row.order_blind else ("D", 5.5)
    inside = "white" if row.order_blind else color
    for y, pair in enumerate(pairs):
        if pair in row.per_pair:
            value = row.per_pair[pair]
            panel.errorbar(value.mean, y, xerr=value.std or None, color=color, elinewidth=1.2, zorder=2)
            panel.plot([value.mean], [y], marker=marker, ms=size, mfc=inside, mec=color, mew=1.5, zorder=3)
    panel.set_xlim(0, 104)
    panel.set_xticks([0, 50, 100])
    panel.set_ylim(len(pairs) - 0.4, -0.6)
    panel.tick_params(length=0)


def _hard_last(rows: Sequence[Row]) -> list[str]:
    """Pairs by falling accuracy of the methods that can tell them apart."""
    seeing = [row for row in rows if not row.order_blind] or list(rows)
    names = list(dict.fromkeys(pair for row in rows for pair in row.per_pair))

    def mean(pair: str) -> float:
        known = [row.per_pair[pair].mean for row in seeing if pair in row.per_pair]
        return statistics.fmean(known) if known else 0.0

    return sorted(names, key=lambda pair: (-mean(pair), pair))


def _headline(dataset: str, rows: Sequence[Row]) -> str:
    scored = [(row.pair.mean, row) for row in rows if row.pair]
    if not scored:
        return f"{dataset}: accuracy within pairs of time-reversed classes"
    best, first = max(scored, key=lambda pair: pair[0])
    clips = clips_tested(rows)
    names = ahead({row.label: mean for mean, row in scored}, clips)
    tell = f"{listed(names)} {'tells' if len(names) == 1 else 'tell'}"
    text = f"{dataset}: {tell} a clip from its reversal best ({best:.1f} % within pairs)"
    if best <= 50 + two_errors(50, clips):
        return f"{dataset}: no method tells a clip from its reversal (at most {best:.1f} % within pairs)"
    if len(rows) == 1:
        text = f"{dataset}: {first.label} tells {best:.1f} % of the clips from their reversal"
    blind = [mean for mean, row in scored if row.order_blind]
    if blind and not first.order_blind:
        text += f"; order-blind methods reach at most {max(blind):.1f} %"
    return text


def _how(rows: Sequence[Row]) -> str:
    text = "Dashed: 50 %, chance within a pair, and the ceiling of order-blind methods (hollow circles)."
    if max(row.n for row in rows) > 1:
        text += " Means over seeds, bars: one standard deviation."
    if len(rows) > MOST_PANELS:
        text += f" The {MOST_PANELS} of {len(rows)} methods with the highest top-1."
    return text
