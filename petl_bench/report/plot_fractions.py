"""Accuracy against the share of the training data: a line for each method."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from petl_bench.report.chance import ahead, clips_tested, listed, none_above_chance
from petl_bench.report.collect import Comparison, Row
from petl_bench.report.figure import (
    FONT,
    INK,
    SMALL,
    Colors,
    in_points,
    new_figure,
    readable,
    settle,
    title,
)
from petl_bench.report.labels import Point, spread
from petl_bench.report.measure import digits
from petl_bench.report.reference import along, draw_reference
from petl_bench.report.sweeps import DataLine

MOST_LINES = 20  # that have a name and a colour
_LINE = FONT * 1.3


def data_efficiency(comparison: Comparison, lines: Sequence[DataLine], colors: Colors) -> Figure:
    """The picture; there is at least one line.

    Args:
        comparison: of the data set, for chance and ceiling.
        lines: the methods, by falling accuracy on the largest share.
        colors: name of a line -> colour and dash.
    """
    figure = new_figure(max(4.4, len(lines) * _LINE / 72 + 1.8))
    title(figure, _headline(comparison, lines), _how(lines))
    axes = figure.add_subplot()
    axes.set_ylabel("test top-1, %")
    axes.set_xlabel("share of the training clips, of each class alike")
    for line in lines:
        _draw(axes, line, colors[line.name])
    _fraction_axis(axes, [row for line in lines for row in line.rows])
    references = _accuracy_axis(axes, lines, comparison)
    _names(figure, axes, lines, colors)
    taken = [place for line in lines for place in _taken(axes, line)]
    for value, text in references:
        draw_reference(axes, value, text, taken)
    return figure


def _draw(axes: Axes, line: DataLine, color: tuple[str, str]) -> None:
    shade, dash = color
    xs = [row.fraction for row in line.rows]
    means = [row.top1.mean for row in line.rows]
    blind = line.rows[-1].order_blind
    if any(row.top1.std for row in line.rows):
        bars = [row.top1.std or 0.0 for row in line.rows]
        axes.errorbar(xs, means, yerr=bars, color=shade, ls="", elinewidth=1.2, capsize=2.5, zorder=2)
    axes.plot(
        xs,
        means,
        color=shade,
        ls=dash,
        lw=1.7,
        marker="o" if blind else "D",
        ms=6.5 if blind else 5.5,
        mfc="white" if blind else shade,
        mec=shade,
        mew=1.5,
        zorder=3,
    )


def _fraction_axis(axes: Axes, rows: Sequence[Row]) -> None:
    """Doublings of data are equal steps; each share is named, with its clips where all methods agree on them."""
    axes.set_xscale("log", base=2)
    shares = sorted({row.fraction for row in rows})
    texts = []
    for share in shares:
        clips = {
            run.record.provenance.clips["train"].used
            for row in rows
            if row.fraction == share
            for run in row.runs
            if run.record.provenance and "train" in run.record.provenance.clips
        }
        texts.append(f"{100 * share:g} %" + (f"\n{clips.pop():,} clips" if len(clips) == 1 else ""))
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelcolor=INK, labelsize=SMALL)
    margin = (shares[-1] / shares[0]) ** 0.05
    axes.set_xlim(shares[0] / margin, shares[-1] * margin)


def _accuracy_axis(axes: Axes, lines: Sequence[DataLine], comparison: Comparison) -> list[tuple[float, str]]:
    """Limits around the data, and around chance and the ceiling where these do not squash the data.

    Returns:
        (top-1, text) of the reference lines.
    """
    rows = [row for line in lines for row in line.rows]
    low = min(row.top1.mean - (row.top1.std or 0) for row in rows)
    high = max(row.top1.mean + (row.top1.std or 0) for row in rows)
    found = []
    for value, name in ((comparison.blind_ceiling, "order-blind ceiling"), (comparison.chance, "chance")):
        if value is not None and low - value <= max(high - low, 10.0):
            low, high = min(low, value), max(high, value)
            found.append((value, f"{name} {digits(value)} %"))
    margin = max(0.06 * (high - low), (10.0 - (high - low)) / 2)
    axes.set_ylim(max(low - margin, -2.0), min(high + margin, 104.0))
    return found


def _taken(axes: Axes, line: DataLine) -> list[Point]:
    """Places of a method's line and of its bars."""
    means = [row.top1.mean for row in line.rows]
    ends = [(row, row.top1.std or 0.0) for row in line.rows]
    bars = [in_points(axes, row.fraction, row.top1.mean + end) for row, std in ends for end in (-std, std)]
    return [*along(axes, [row.fraction for row in line.rows], means), *bars]


def _names(figure: Figure, axes: Axes, lines: Sequence[DataLine], colors: Colors) -> None:
    """Names right of the line ends, spread apart, each joined to its end. Settles the layout."""
    ends = [(line.name, line.rows[-1].fraction, line.rows[-1].top1.mean) for line in lines]
    texts = [
        axes.annotate(
            f"{name} {value:.1f}",
            (x, value),
            xytext=(26, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=FONT,
            color=readable(colors[name][0]),
            annotation_clip=False,
        )
        for name, x, value in ends
    ]
    settle(figure)
    heights = [in_points(axes, x, value)[1] for _, x, value in ends]
    bottom, top = (in_points(axes, ends[0][1], y)[1] for y in axes.get_ylim())
    places = spread(heights, _LINE, bottom + 2, top - 2)
    for text, (name, x, value), height, goal in zip(texts, ends, heights, places, strict=True):
        text.set_position((26, goal - height))
        axes.annotate(
            "",
            (x, value),
            xytext=(24, goal - height),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": colors[name][0], "lw": 0.8, "shrinkA": 0, "shrinkB": 6},
            annotation_clip=False,
        )


def _headline(comparison: Comparison, lines: Sequence[DataLine]) -> str:
    """Who is ahead with the least data, and with the most."""
    dataset = comparison.name
    rows = [row for line in lines for row in line.rows]
    if nothing := none_above_chance(rows, comparison.chance):
        return f"{dataset}: {nothing}"
    shares = sorted({row.fraction for row in rows})

    def leading(share: float) -> tuple[str, float]:
        tops = {line.name: row.top1.mean for line in lines for row in line.rows if row.fraction == share}
        names = ahead(tops, clips_tested(rows))
        return listed(names) + (" are" if len(names) > 1 else " is"), tops[names[0]]

    least, most = leading(shares[0]), leading(shares[-1])
    few = f"{100 * shares[0]:g} %"
    all_ = "all" if shares[-1] == 1 else f"{100 * shares[-1]:g} %"
    if len(lines) == 1:
        return (
            f"{dataset}: {lines[0].name} reaches {least[1]:.1f} % top-1 with {few} of the training clips, "
            f"{most[1]:.1f} % with {all_}"
        )
    if least[0] == most[0]:
        return (
            f"{dataset}: {least[0]} ahead with {few} of the training clips ({least[1]:.1f} % top-1) "
            f"and with {all_} ({most[1]:.1f} %)"
        )
    return (
        f"{dataset}: with {few} of the training clips {least[0]} ahead ({least[1]:.1f} % top-1), "
        f"with {all_} {most[0].rsplit(' ', 1)[0]} ({most[1]:.1f} %)"
    )


def _how(lines: Sequence[DataLine]) -> str:
    counts = sorted({row.n for line in lines for row in line.rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = "One seed each: the spread is not known."
    if counts != [1]:
        text = f"Means over {seeds} seeds, bars: one standard deviation."
    if any(line.rows[-1].order_blind for line in lines):
        text += " Hollow circles: order-blind by construction."
    return text
