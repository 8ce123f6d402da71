"""Accuracy class by class: a heat map of classes x rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from petl_bench.report.chance import APART, apart, clips_tested, none_above_chance
from petl_bench.report.collect import Comparison, Row, twins
from petl_bench.report.figure import FONT, INK, SMALL, new_figure, settle, shorten, title

MOST_CLASSES = 40  # rows that stay readable in one picture
MOST_NUMBERS = 12  # columns that leave room for a number in each cell
_NAME = 210.0  # longest name of a class, points


def class_map(comparison: Comparison) -> Figure | None:
    """The picture; None where no run has per-class accuracies.

    Where there are more classes than fit, those on which the rows differ most.
    """
    rows = [row for row in comparison.rows if row.per_class]
    if not rows:
        return None
    names = class_order(rows)
    shown = names if len(names) <= MOST_CLASSES else _most_different(rows, names)
    figure = new_figure(1.9 + 0.25 * len(shown) + (0.9 if len(rows) > MOST_NUMBERS else 0.0))
    title(figure, _headline(comparison, rows, names), _how(rows, names, shown))
    axes = figure.add_subplot()
    axes.grid(False)
    values = [[row.per_class[c].mean if c in row.per_class else math.nan for row in rows] for c in shown]
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=0, vmax=100)
    slant, side = (30, "left") if len(rows) <= MOST_NUMBERS else (90, "center")
    labels = [shorten(row.label, 140, FONT) for row in rows]
    axes.set_xticks(range(len(rows)), labels, rotation=slant, ha=side, color=INK)
    axes.set_yticks(range(len(shown)), [shorten(name, _NAME, FONT) for name in shown], color=INK)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    if len(rows) <= MOST_NUMBERS:
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


def class_order(rows: Sequence[Row]) -> list[str]:
    """Twins side by side in the order of the pairs; the other classes after them, best known first."""
    names = list(dict.fromkeys(name for row in rows for name in row.per_class))
    pairs = dict.fromkeys(pair for row in rows for pair in row.per_pair)
    paired = list(dict.fromkeys(name for pair in pairs for name in twins(pair, names) or ()))
    rest = sorted(set(names) - set(paired), key=lambda c: (-_mean_over(rows, c), c))
    return paired + rest


def _mean_over(rows: Sequence[Row], name: str) -> float:
    return statistics.fmean(row.per_class[name].mean for row in rows if name in row.per_class)


def _most_different(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    def differ(name: str) -> float:
        return statistics.pstdev([row.per_class[name].mean for row in rows if name in row.per_class])

    kept = set(sorted(names, key=lambda c: (-differ(c), c))[:MOST_CLASSES])
    return [name for name in names if name in kept]


def _headline(comparison: Comparison, rows: Sequence[Row], names: Sequence[str]) -> str:
    dataset = comparison.name
    if nothing := none_above_chance(rows, comparison.chance):
        return f"{dataset}: {nothing}"
    ranked = sorted(names, key=lambda c: (-_mean_over(rows, c), c))
    in_class = clips_tested(rows) / len(names)
    if _mean_over(rows, ranked[0]) - _mean_over(rows, ranked[-1]) <= apart(in_class):
        return (
            f"{dataset}: averaged over methods, no class differs from another by more than {APART} test clips"
        )
    easy, hard = (f"{shorten(c, _NAME, FONT)} ({_mean_over(rows, c):.0f} %)" for c in (ranked[0], ranked[-1]))
    return f"{dataset}: averaged over methods, the easiest class is {easy}, the hardest {hard}"


def _how(rows: Sequence[Row], names: Sequence[str], shown: Sequence[str]) -> str:
    which = f"All {len(names)} classes"
    if len(shown) < len(names):
        which = f"{len(shown)} of {len(names)} classes, those on which the methods differ most"
    seeds = "" if max(row.n for row in rows) == 1 else ", means over seeds"
    return f"Accuracy in percent. {which}{seeds}; methods by falling top-1."
