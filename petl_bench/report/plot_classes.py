"""Accuracy class by class (a heat map) and, where classes come in time-reversed pairs, pair by pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from petl_bench.report.collect import Comparison, Row, twins
from petl_bench.report.figure import FONT, INK, RULE, SMALL, new_figure, settle, title
from petl_bench.report.plot_tradeoff import Colors

MOST_CLASSES = 40  # rows that stay readable in one picture
_MOST_NUMBERS = 12  # columns that leave room for a number in each cell


def class_map(comparison: Comparison) -> Figure | None:
    """Classes x rows, accuracy as colour and number; None where no run has per-class accuracies.

    Where there are more classes than fit, those on which the rows differ most.
    """
    rows = [row for row in comparison.rows if row.per_class]
    if not rows:
        return None
    names = class_order(rows)
    shown = names if len(names) <= MOST_CLASSES else _most_different(rows, names, MOST_CLASSES)
    figure = new_figure(1.9 + 0.25 * len(shown))
    title(figure, _class_headline(comparison.dataset, rows, names), _class_note(rows, names, shown))
    axes = figure.add_subplot()
    axes.grid(False)
    values = [[row.per_class[c].mean if c in row.per_class else math.nan for row in rows] for c in shown]
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=0, vmax=100)
    axes.set_xticks(range(len(rows)), [row.label for row in rows], rotation=30, ha="left", color=INK)
    axes.set_yticks(range(len(shown)), shown, color=INK)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    if len(rows) <= _MOST_NUMBERS:
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                if not math.isnan(value):
                    shade = "white" if value < 60 else "black"
                    axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=SMALL, color=shade)
    else:
        bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
        bar.set_label("accuracy, %")
        bar.outline.set_visible(False)  # type: ignore[operator]
    settle(figure)
    return figure


def pair_dots(comparison: Comparison, colors: Colors) -> Figure | None:
    """A small panel per row: pair accuracy of each pair, beside the ceiling of order-blind methods."""
    rows = [row for row in comparison.rows if row.per_pair]
    if not rows:
        return None
    pairs = _hard_last(rows)
    across = min(4, len(rows))
    down = math.ceil(len(rows) / across)
    # long names stand in two lines
    broken = max(map(len, pairs)) > 24
    names = [pair.replace("/", " /\n" if broken else " / ") for pair in pairs]
    figure = new_figure(1.5 + down * (0.45 + (0.36 if broken else 0.21) * len(pairs)))
    title(figure, _pair_headline(comparison.dataset, rows), _pair_note(rows))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for panel, row in zip(panels.flat, rows, strict=False):
        color = colors[row.label][0]
        panel.axvline(50, color=RULE, lw=1.2, ls=(0, (4, 3)), zorder=1)
        for y, pair in enumerate(pairs):
            if pair not in row.per_pair:
                continue
            value = row.per_pair[pair]
            panel.errorbar(value.mean, y, xerr=value.std or None, color=color, elinewidth=1.2, zorder=2)
            panel.plot(
                [value.mean],
                [y],
                marker="o" if row.order_blind else "D",
                ms=6.5 if row.order_blind else 5.5,
                mfc="white" if row.order_blind else color,
                mec=color,
                mew=1.5,
                zorder=3,
            )
        panel.set_title(row.label, fontsize=FONT, loc="left", color=INK, pad=4)
        panel.set_xlim(0, 104)
        panel.set_xticks([0, 50, 100])
        panel.set_ylim(len(pairs) - 0.4, -0.6)
        panel.set_yticks(range(len(pairs)), names, color=INK, fontsize=SMALL)
        panel.tick_params(length=0)
    for panel in list(panels.flat)[len(rows) :]:
        panel.set_visible(False)
    figure.supxlabel("accuracy within the pair, %", fontsize=FONT, color=INK)
    settle(figure)
    return figure


def class_order(rows: Sequence[Row]) -> list[str]:
    """Twins side by side in the order of the pairs; the other classes after them, best known first."""
    names = list(dict.fromkeys(name for row in rows for name in row.per_class))
    pairs = dict.fromkeys(pair for row in rows for pair in row.per_pair)
    paired = list(dict.fromkeys(name for pair in pairs for name in twins(pair, names) or ()))
    rest = sorted(set(names) - set(paired), key=lambda c: (-_mean_over(rows, c), c))
    return paired + rest


def _mean_over(rows: Sequence[Row], name: str) -> float:
    return statistics.fmean(row.per_class[name].mean for row in rows if name in row.per_class)


def _most_different(rows: Sequence[Row], names: Sequence[str], most: int) -> list[str]:
    def differ(name: str) -> float:
        return statistics.pstdev([row.per_class[name].mean for row in rows if name in row.per_class])

    kept = set(sorted(names, key=lambda c: (-differ(c), c))[:most])
    return [name for name in names if name in kept]


def _class_headline(dataset: str, rows: Sequence[Row], names: Sequence[str]) -> str:
    hardest = min(names, key=lambda c: (_mean_over(rows, c), c))
    easiest = min(names, key=lambda c: (-_mean_over(rows, c), c))
    return (
        f"{dataset}: over all methods, {easiest} is the easiest class ({_mean_over(rows, easiest):.0f} %) "
        f"and {hardest} the hardest ({_mean_over(rows, hardest):.0f} %)"
    )


def _class_note(rows: Sequence[Row], names: Sequence[str], shown: Sequence[str]) -> str:
    which = (
        f"All {len(names)} classes"
        if len(shown) == len(names)
        else (f"{len(shown)} of {len(names)} classes, those on which the methods differ most")
    )
    seeds = "" if max(row.n for row in rows) == 1 else ", means over seeds"
    return f"Accuracy in percent. {which}{seeds}; methods by falling top-1."


def _hard_last(rows: Sequence[Row]) -> list[str]:
    """Pairs by falling accuracy of the methods that can tell them apart."""
    seeing = [row for row in rows if not row.order_blind] or list(rows)
    names = list(dict.fromkeys(pair for row in rows for pair in row.per_pair))

    def mean(pair: str) -> float:
        known = [row.per_pair[pair].mean for row in seeing if pair in row.per_pair]
        return statistics.fmean(known) if known else 0.0

    return sorted(names, key=lambda pair: (-mean(pair), pair))


def _pair_headline(dataset: str, rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda r: r.pair.mean if r.pair else 0.0)
    blind = [row for row in rows if row.order_blind and row.pair]
    text = f"{dataset}: {best.label} tells a clip from its reversal best"
    text += f" ({best.pair.mean:.1f} % within pairs)" if best.pair else ""
    if blind and not best.order_blind:
        top = max(blind, key=lambda r: r.pair.mean if r.pair else 0.0)
        assert top.pair is not None
        text += f"; order-blind methods reach at most {top.pair.mean:.1f} %"
    return text


def _pair_note(rows: Sequence[Row]) -> str:
    bars = "" if max(row.n for row in rows) == 1 else " Means over seeds, bars: one standard deviation."
    return (
        f"Dashed: 50 %, the ceiling of order-blind methods (hollow circles); also chance within a pair.{bars}"
    )
