"""What is left of accuracy when the frames of the test clips are shuffled or reversed: a line for each row."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from petl_bench.report.chance import apart, clips_tested, none_above_chance
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.figure import (
    FONT,
    INK,
    PALE,
    PALETTE,
    RULE,
    SMALL,
    new_figure,
    settle,
    shorten,
    title,
)
from petl_bench.report.measure import Measure, digits, measure

MOST_ROWS = 30
# kept, shuffled and reversed differ in shape as well as in colour
_MARKS = (("kept", PALETTE[6], "D"), ("shuffled", PALETTE[1], "x"), ("reversed", PALETTE[0], "<"))


def frame_order(comparison: Comparison, rows: Sequence[Row]) -> Figure:
    """The picture of the rows that were tested with other orders, of which there is at least one."""
    shown = rows[:MOST_ROWS]
    figure = new_figure(1.35 + 0.27 * len(shown))
    title(figure, _headline(comparison, rows), _how(rows))
    axes = figure.add_subplot()
    axes.set_xlabel("test top-1, %")
    axes.grid(axis="y", visible=False)
    for y, row in enumerate(shown):
        _line(axes, y, {name: v for name, _, _ in _MARKS if (v := _measure(row, name))})
    axes.set_yticks(range(len(shown)), [shorten(row.label, 190, FONT) for row in shown], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.5, -1.1)  # the name of chance stands above the first row
    _limits(axes, shown, comparison)
    handles = [
        Line2D([], [], ls="", marker=mark, ms=6.5, mfc=color, mec=color, mew=1.8) for _, color, mark in _MARKS
    ]
    axes.legend(
        handles,
        [f"frames {name}" for name, _, _ in _MARKS],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3,
        borderpad=0.2,
        borderaxespad=0.3,
        handletextpad=0.2,
        fontsize=SMALL,
        frameon=False,
    )
    settle(figure)
    return figure


def _measure(row: Row, name: str) -> Measure | None:
    if name == "kept":
        return row.top1
    return measure(getattr(run.metrics, f"top1_{name}") for run in row.runs)


def _line(axes: Axes, y: int, values: dict[str, Measure]) -> None:
    means = [v.mean for v in values.values()]
    axes.plot([min(means), max(means)], [y, y], color="#c4c4c4", lw=2.2, zorder=2, solid_capstyle="round")
    for name, color, mark in _MARKS:
        if name in values:
            above = 4 if mark == "x" else 3  # a filled mark would hide it
            axes.plot(
                [values[name].mean], [y], marker=mark, ms=6.5, mfc=color, mec=color, mew=1.8, zorder=above
            )


def _limits(axes: Axes, rows: Sequence[Row], comparison: Comparison) -> None:
    means = [v.mean for row in rows for name, _, _ in _MARKS if (v := _measure(row, name))]
    low, high = min(means), max(means)
    chance = comparison.chance
    if chance is not None and low - chance < max(high - low, 10.0):
        low = min(low, chance)
        axes.axvline(chance, color=RULE, lw=1.0, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"chance {digits(chance)} %",
            (chance, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            fontsize=SMALL,
            color=PALE,
        )
    margin = max(0.05 * (high - low), (10.0 - (high - low)) / 2)
    axes.set_xlim(max(low - margin, -2.0), min(high + margin, 104.0))


def _headline(comparison: Comparison, rows: Sequence[Row]) -> str:
    dataset = comparison.name
    if nothing := none_above_chance(rows, comparison.chance):
        return f"{dataset}: {nothing}"
    lost = [(row.top1.mean - v.mean, row) for row in rows if (v := _measure(row, "shuffled"))]
    how = "shuffled"
    if not lost:
        how = "reversed"
        lost = [(row.top1.mean - v.mean, row) for row in rows if (v := _measure(row, how))]
    drop, row = max(lost, key=lambda pair: pair[0])
    if len(rows) == 1:
        return f"{dataset}: {row.label} loses {drop:.1f} points of top-1 when the frames are {how}"
    if drop < max(1.0, apart(clips_tested(rows))):
        return f"{dataset}: no method loses more than {max(drop, 0):.1f} points of top-1 when the frames are {how}"
    return f"{dataset}: {row.label} loses most when the frames are {how}, {drop:.1f} points of top-1"


def _how(rows: Sequence[Row]) -> str:
    counts = sorted({row.n for row in rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = "One seed each." if counts == [1] else f"Means over {seeds} seeds."
    text += " Trained on frames in order, tested with the frames of each clip in three orders."
    if len(rows) > MOST_ROWS:
        text += f" The {MOST_ROWS} of {len(rows)} rows with the highest top-1."
    return text
