"""Accuracy against the settings of a method: a panel for each setting, one accuracy axis for all."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import offset_copy

from petl_bench.report.chance import APART, apart, clips_tested
from petl_bench.report.collect import Row
from petl_bench.report.figure import (
    FONT,
    INK,
    PALE,
    PALETTE,
    RULE,
    SMALL,
    WIDTH,
    new_figure,
    settle,
    shorten,
    text_size,
    title,
)
from petl_bench.report.sweeps import Sweep, Variant

_ROOM = WIDTH * 72 - 70  # points, for the panels of a line
_GAP = 26.0  # between two panels
_NUMERIC_SLOT = 34.0  # of a tick on a numeric axis, at least
_LOG_FROM = 8.0  # largest / smallest value, from which on an axis is logarithmic
_LEAST = 10.0  # points of accuracy that are never blown up to the whole height
_BASE, _OTHER = PALETTE[1], PALETTE[0]


def sweep_panels(dataset: str, sweeps: Sequence[Sweep]) -> Figure:
    """The picture of all sweeps of one method; there is at least one."""
    lines = _packed(sweeps)
    figure = new_figure(1.05 + 2.45 * len(lines))
    title(figure, _headline(dataset, sweeps), _how(sweeps))
    low, high = _limits([v.row for sweep in sweeps for v in sweep.variants])
    grid = figure.add_gridspec(len(lines), 1)
    for i, line in enumerate(lines):
        widths = [_width(sweep) for sweep in line]
        spare = max(0.0, _ROOM - sum(widths) - _GAP * (len(line) - 1))
        # a short line leaves room at its right rather than panels stretched beyond reading
        stretch = min(1.35, 1 + spare / sum(widths))
        widths = [w * stretch for w in widths]
        rest = _ROOM - sum(widths) - _GAP * (len(line) - 1)
        ratios = [*widths, rest] if rest > 12 else widths
        row = grid[i].subgridspec(1, len(ratios), width_ratios=ratios)
        first: Axes | None = None
        for j, sweep in enumerate(line):
            axes = figure.add_subplot(row[j], sharey=first)
            first = first or axes
            _panel(axes, sweep)
            axes.set_ylim(low, high)
            axes.set_title(_name(sweep.setting), fontsize=FONT, loc="left", color=INK, pad=4)
            axes.tick_params(axis="y", labelleft=j == 0, length=0)
            if j == 0:
                axes.set_ylabel("test top-1, %")
        if i == 0 and first is not None:
            _key(figure)
    settle(figure)
    return figure


def _packed(sweeps: Sequence[Sweep]) -> list[list[Sweep]]:
    """Panels into lines, each into the first line that has room for it."""
    lines: list[list[Sweep]] = []
    room: list[float] = []
    for sweep in sweeps:
        width = _width(sweep) + _GAP
        place = next((i for i, free in enumerate(room) if free >= width), len(lines))
        if place == len(lines):
            lines.append([])
            room.append(_ROOM + _GAP)
        lines[place].append(sweep)
        room[place] -= width
    return lines


def _name(setting: str) -> str:
    return setting.replace("_", " ")


def _width(sweep: Sweep) -> float:
    return min(_ROOM, max(sum(_slots(sweep)), text_size(_name(sweep.setting), FONT)[0] + 4, 80.0))


def _slots(sweep: Sweep) -> list[float]:
    least = _NUMERIC_SLOT if sweep.numeric else 0.0
    return [max(least, text_size(max(_tick(v), key=len), SMALL)[0] + 11) for v in sweep.variants]


def _tick(variant: Variant) -> list[str]:
    """The lines of a tick's text: a list of names has a line for each."""
    return [shorten(part, 110, SMALL) for part in variant.name.replace(" + ", " +\n").split("\n")]


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    tops = [run.metrics.top1 for row in rows for run in row.runs]
    low, high = min(tops), max(tops)
    margin = max(0.08 * (high - low), (_LEAST - (high - low)) / 2)
    return max(low - margin, -2.0), min(high + margin, 102.0)


def _panel(axes: Axes, sweep: Sweep) -> None:
    places = _places(axes, sweep)
    axes.axhline(sweep.base.top1.mean, color=RULE, lw=1.0, ls=(0, (4, 3)), zorder=1)
    if sweep.numeric:
        means = [v.row.top1.mean for v in sweep.variants]
        axes.plot(places, means, color=RULE, lw=1.2, zorder=2)
    for x, variant in zip(places, sweep.variants, strict=True):
        base = variant.row is sweep.base
        color = _BASE if base else _OTHER
        tops = [run.metrics.top1 for run in variant.row.runs]
        if len(tops) > 1:
            beside = offset_copy(axes.transData, axes.figure, x=9, units="points")  # type: ignore[arg-type]
            xs = [x] * len(tops)
            axes.plot(xs, tops, ls="", marker="o", ms=3, mfc=color, mew=0, alpha=0.6, transform=beside)
        axes.plot(
            [x],
            [variant.row.top1.mean],
            marker="D" if base else "o",
            ms=7.0,
            mfc=color if base else "white",
            mec=color,
            mew=1.7,
            zorder=4,
        )


def _places(axes: Axes, sweep: Sweep) -> list[float]:
    """Sets up the axis of the setting. Returns where each variant stands on it."""
    texts = ["\n".join(_tick(v)) for v in sweep.variants]
    if sweep.numeric:
        places = [float(v.value) for v in sweep.variants]
        low, high = min(places), max(places)
        if low > 0 and high / low >= _LOG_FROM:
            axes.set_xscale("log", base=2)
            margin = (high / low) ** (0.5 / max(1, len(places) - 1)) if high > low else 2.0
            axes.set_xlim(low / margin, high * margin)
        else:
            margin = (high - low) * 0.5 / max(1, len(places) - 1) or 1.0
            axes.set_xlim(low - margin, high + margin)
    else:
        slots = _slots(sweep)
        # every category is as wide as its text
        places = [sum(slots[:i]) + slot / 2 for i, slot in enumerate(slots)]
        axes.set_xlim(0, sum(slots))
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=SMALL, length=3, labelcolor=INK)
    axes.grid(axis="x", visible=False)
    for label, variant in zip(axes.get_xticklabels(), sweep.variants, strict=True):
        if variant.row is sweep.base:
            label.set_fontweight("bold")
    return places


def _key(figure: Figure) -> None:
    """What the markers mean, right above the panels."""
    base = Line2D([], [], ls="", marker="D", ms=6.5, mfc=_BASE, mec=_BASE)
    other = Line2D([], [], ls="", marker="o", ms=6.5, mfc="white", mec=_OTHER, mew=1.7)
    figure.axes[0].legend(
        [base, other],
        ["base", "one setting changed"],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.1),
        ncols=2,
        borderpad=0.0,
        borderaxespad=0.3,
        handletextpad=0.2,
        fontsize=SMALL,
        frameon=False,
        labelcolor=PALE,
    )


def _headline(dataset: str, sweeps: Sequence[Sweep]) -> str:
    """Which setting moves accuracy most."""
    base = sweeps[0].base

    def spread(sweep: Sweep) -> float:
        means = [v.row.top1.mean for v in sweep.variants]
        return max(means) - min(means)

    most = max(sweeps, key=spread)
    clips = clips_tested([v.row for sweep in sweeps for v in sweep.variants])
    if spread(most) <= apart(clips):
        return f"{dataset}: no setting moves {base.stem}'s top-1 by more than {APART} test clips"
    worst = min(most.variants, key=lambda v: v.row.top1.mean)
    best = max(most.variants, key=lambda v: v.row.top1.mean)
    ends = f"from {worst.row.top1.mean:.1f} % ({worst.name}) to {best.row.top1.mean:.1f} % ({best.name})"
    if len(sweeps) == 1:
        return f"{dataset}: with its {_name(most.setting)}, {base.stem}'s top-1 goes {ends}"
    return f"{dataset}: of {base.stem}'s settings, {_name(most.setting)} moves top-1 most, {ends}"


def _how(sweeps: Sequence[Sweep]) -> str:
    counts = sorted({v.row.n for sweep in sweeps for v in sweep.variants})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = "One seed each: the spread is not known."
    if counts != [1]:
        text = f"Large marks: means over {seeds} seeds; dots beside them: the seeds."
    if any(v.value is None and v.name == "default" for sweep in sweeps for v in sweep.variants):
        text += " default: the method's own choice."
    return text + " Dashed: the base."
