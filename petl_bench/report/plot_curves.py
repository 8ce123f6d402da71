"""Training curves: validation top-1 and, in a small panel below, the training loss."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petl_bench.report.chance import above_chance, ahead, clips_of, close, listed
from petl_bench.report.collect import Comparison
from petl_bench.report.curves import Curve, RowCurves
from petl_bench.report.figure import (
    FONT,
    Colors,
    in_points,
    new_figure,
    readable,
    settle,
    title,
)
from petl_bench.report.labels import spread
from petl_bench.report.measure import digits
from petl_bench.report.reference import along, draw_reference

MOST_NAMES = 24  # lines that have a name; more are drawn grey
_MOST_BANDS = 10
_LINE = FONT * 1.3  # distance of two names, points


def training_curves(comparison: Comparison, curves: Mapping[str, RowCurves], colors: Colors) -> Figure | None:
    """The picture; None where no run logged a validation.

    Args:
        comparison: whose rows are drawn.
        curves: label -> its curves.
        colors: label -> colour and dash.
    """
    top1 = {row.label: c for row in comparison.rows if (c := curves[row.label].top1)}
    loss = {row.label: c for row in comparison.rows if (c := curves[row.label].loss)}
    if not top1:
        return None
    named = dict(list(top1.items())[:MOST_NAMES])
    shown = {label: colors[label] if label in named else ("#cccccc", "-") for label in {**top1, **loss}}
    tall = max(3.4, len(named) * _LINE / 72 + 0.4)
    figure = new_figure(tall + (1.9 if loss else 0.0) + 0.9)
    title(figure, _headline(comparison, top1), _how(comparison, top1))
    panels = 2 if loss else 1
    grid = figure.add_gridspec(panels, 1, height_ratios=[tall, 1.5][:panels])
    axes = figure.add_subplot(grid[0])
    axes.set_ylabel("validation top-1, %")
    _lines(axes, top1, shown)
    if _reaches_down(top1):
        axes.set_ylim(bottom=0)
    if loss:
        lower = figure.add_subplot(grid[1], sharex=axes)
        lower.set_ylabel("training loss")
        _lines(lower, loss, shown)
        lower.set_ylim(bottom=0)
        axes.tick_params(labelbottom=False)
    figure.axes[-1].set_xlabel("epoch")
    axes.set_xlim(0, max(c.epochs[-1] for c in top1.values()))
    _names(figure, axes, named, shown)
    taken = [place for c in top1.values() for place in along(axes, c.epochs, [v.mean for v in c.values])]
    low, high = axes.get_ylim()
    for value, name in ((comparison.chance, "chance"), (comparison.blind_ceiling, "order-blind ceiling")):
        if value is not None and low <= value <= high:
            draw_reference(axes, value, f"{name} {digits(value)} %", taken)
    return figure


def _headline(comparison: Comparison, curves: Mapping[str, Curve]) -> str:
    last = {label: curve.values[-1].mean for label, curve in sorted(curves.items())}
    clips = clips_of(comparison.rows, "validation")
    first = ahead(last, clips)
    best, chance = last[first[0]], comparison.chance
    if chance is not None and clips and not above_chance(best, chance, clips):
        who = f"{first[0]} is not" if len(last) == 1 else "no method is"
        return f"{comparison.name}: {who} above chance on the validation part ({clips} clips, at most {best:.1f} %)"
    text = f"{first[0]} {'ends' if len(last) == 1 else 'ends highest'} at {best:.1f} %"
    if undecided := close(last, first):
        text = undecided
    elif clips and len(first) > 1:
        text = f"{listed(first)} end highest at {best:.1f} %"
    text = f"{comparison.name}: {text} on the validation part"
    rising = [label for label, curve in curves.items() if _still_rising(curve)]
    if rising and len(rising) <= 3:
        text += f"; still rising at the end: {', '.join(rising)}"
    elif rising:
        text += f"; {len(rising)} of {len(curves)} methods are still rising at the end"
    return text


def _still_rising(curve: Curve) -> bool:
    """More than a point gained, and more than the seeds' spread, since the last tenth of training began."""
    before = [
        v for epoch, v in zip(curve.epochs, curve.values, strict=True) if epoch <= curve.epochs[-1] * 0.9
    ]
    return bool(before) and curve.values[-1].mean - before[-1].mean > max(1.0, before[-1].std or 0.0)


def _how(comparison: Comparison, curves: Mapping[str, Curve]) -> str:
    counts = sorted({row.n for row in comparison.rows if row.label in curves})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = "One seed each" if counts == [1] else f"Lines: means over {seeds} seeds"
    if counts != [1] and len(curves) <= _MOST_BANDS:
        text += "; bands: one standard deviation"
    text += ". Below: the training loss, same colours."
    if len(curves) > MOST_NAMES:
        text += f" Named: the {MOST_NAMES} with the highest test top-1."
    return text


def _lines(axes: Axes, curves: Mapping[str, Curve], colors: Colors) -> None:
    for label, curve in curves.items():
        color, dash = colors[label]
        mean = [v.mean for v in curve.values]
        marker = "o" if len(mean) == 1 else ""
        axes.plot(
            curve.epochs, mean, color=color, ls=dash, lw=1.7, marker=marker, zorder=3, clip_on=not marker
        )
        if len(curves) <= _MOST_BANDS and any(v.std for v in curve.values):
            low = [v.mean - (v.std or 0) for v in curve.values]
            high = [v.mean + (v.std or 0) for v in curve.values]
            axes.fill_between(curve.epochs, low, high, color=color, alpha=0.13, lw=0, zorder=2)


def _reaches_down(curves: Mapping[str, Curve]) -> bool:
    """Zero belongs on the axis unless it would squash the curves."""
    values = [v.mean for c in curves.values() for v in c.values]
    return min(values) < 1.5 * max(max(values) - min(values), 10.0)


def _names(figure: Figure, axes: Axes, curves: Mapping[str, Curve], colors: Colors) -> None:
    """Names right of the line ends, spread apart, each joined to its end. Settles the layout."""
    ends = [(label, curve.epochs[-1], curve.values[-1].mean) for label, curve in curves.items()]
    texts = [
        axes.annotate(
            f"{label} {value:.1f}",
            (epoch, value),
            xytext=(24, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=FONT,
            color=readable(colors[label][0]),
            annotation_clip=False,
        )
        for label, epoch, value in ends
    ]
    settle(figure)
    heights = [in_points(axes, epoch, value)[1] for _, epoch, value in ends]
    bottom, top = (in_points(axes, 0, y)[1] for y in axes.get_ylim())
    places = spread(heights, _LINE, bottom + 2, top - 2)
    for text, (label, epoch, value), height, goal in zip(texts, ends, heights, places, strict=True):
        text.set_position((24, goal - height))
        axes.annotate(
            "",
            (epoch, value),
            xytext=(22, goal - height),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": colors[label][0], "lw": 0.8, "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )
