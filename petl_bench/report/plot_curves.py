"""Training curves: validation top-1 and, in a small panel below, the training loss."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petl_bench.report.collect import Comparison
from petl_bench.report.curves import Curve, RowCurves
from petl_bench.report.figure import FONT, PALE, RULE, SMALL, in_points, new_figure, settle, title
from petl_bench.report.labels import spread
from petl_bench.report.measure import digits
from petl_bench.report.plot_tradeoff import Colors

_LINE = FONT * 1.3  # distance of two labels, points


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
    tall = max(3.4, len(top1) * _LINE / 72 + 0.4)
    figure = new_figure(tall + (1.9 if loss else 0.0) + 0.9)
    title(figure, headline(comparison.dataset, top1), _how(comparison, top1))
    grid = figure.add_gridspec(2 if loss else 1, 1, height_ratios=[tall, 1.5][: 2 if loss else 1])
    axes = figure.add_subplot(grid[0])
    axes.set_ylabel("validation top-1, %")
    _lines(axes, top1, colors)
    axes.set_ylim(bottom=max(-2.0, min(0.0, axes.get_ylim()[0])) if _reaches_down(top1) else None)
    if loss:
        lower = figure.add_subplot(grid[1], sharex=axes)
        lower.set_ylabel("training loss")
        _lines(lower, loss, colors)
        lower.set_ylim(bottom=0)
        axes.tick_params(labelbottom=False)
    figure.axes[-1].set_xlabel("epoch")
    _reference(axes, comparison.chance, "chance")
    _reference(axes, comparison.blind_ceiling, "order-blind ceiling")
    axes.set_xlim(0, max(c.epochs[-1] for c in top1.values()))
    _end_labels(figure, axes, top1, colors)
    return figure


def headline(dataset: str, curves: Mapping[str, Curve]) -> str:
    """Who ends highest, and where everyone was halfway."""
    last = {label: curve.values[-1].mean for label, curve in curves.items()}
    best = max(sorted(last), key=lambda label: last[label])
    still = [label for label, curve in curves.items() if _still_rising(curve)]
    text = f"{dataset}: {best} ends highest on the validation part, at {last[best]:.1f} %"
    if still and len(still) <= 3:
        text += f"; still rising at the end: {', '.join(still)}"
    return text


def _still_rising(curve: Curve) -> bool:
    """More than a point gained since the last tenth of training began."""
    from_ = curve.epochs[-1] * 0.9
    before = [v.mean for e, v in zip(curve.epochs, curve.values, strict=True) if e <= from_]
    return bool(before) and curve.values[-1].mean - before[-1] > 1.0


def _reaches_down(curves: Mapping[str, Curve]) -> bool:
    """Zero belongs on the axis unless it would squash the curves."""
    values = [v.mean for c in curves.values() for v in c.values]
    return min(values) < 1.5 * max(max(values) - min(values), 10.0)


def _reference(axes: Axes, value: float | None, name: str) -> None:
    """A line with its name where it lies within the axis."""
    if value is None or not axes.get_ylim()[0] <= value <= axes.get_ylim()[1]:
        return
    axes.axhline(value, color=RULE, lw=1.0, ls=(0, (4, 3)), zorder=1)
    place = axes.get_yaxis_transform()
    text = f"{name} {digits(value)} %"
    axes.text(0.008, value, text, transform=place, fontsize=SMALL, color=PALE, va="bottom", zorder=4)


def _how(comparison: Comparison, curves: Mapping[str, Curve]) -> str:
    counts = [row.n for row in comparison.rows if row.label in curves]
    if max(counts) == 1:
        return "One seed each. Below: the training loss, in the same colours."
    seeds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"Lines: means over {seeds} seeds; bands: one standard deviation. Below: the training loss, same colours."


def _lines(axes: Axes, curves: Mapping[str, Curve], colors: Colors) -> None:
    for label, curve in curves.items():
        color, dash = colors[label]
        mean = [v.mean for v in curve.values]
        marker = "o" if len(mean) == 1 else ""
        axes.plot(curve.epochs, mean, color=color, ls=dash, lw=1.7, marker=marker, zorder=3)
        if any(v.std for v in curve.values):
            low = [v.mean - (v.std or 0) for v in curve.values]
            high = [v.mean + (v.std or 0) for v in curve.values]
            axes.fill_between(curve.epochs, low, high, color=color, alpha=0.13, lw=0, zorder=2)


def _end_labels(figure: Figure, axes: Axes, curves: Mapping[str, Curve], colors: Colors) -> None:
    """Labels right of the line ends, spread apart, each joined to its end."""
    ends = [(label, curve.epochs[-1], curve.values[-1].mean) for label, curve in curves.items()]
    texts = [
        axes.annotate(
            f"{label} {value:.1f}",
            (epoch, value),
            xytext=(24, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=FONT,
            color=_readable(colors[label][0]),
            annotation_clip=False,
        )
        for label, epoch, value in ends
    ]
    settle(figure)
    places = [in_points(axes, epoch, value) for _, epoch, value in ends]
    (_, bottom), (_, top) = (in_points(axes, 0, y) for y in axes.get_ylim())
    heights = spread([y for _, y in places], _LINE, bottom + 2, top - 2)
    for text, (label, epoch, value), (_, y), goal in zip(texts, ends, places, heights, strict=True):
        text.set_position((24, goal - y))
        _connector(axes, (epoch, value), goal - y, colors[label][0])


def _connector(axes: Axes, end: tuple[float, float], rise: float, color: str) -> None:
    axes.annotate(
        "",
        end,
        xytext=(22, rise),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": color, "lw": 0.8, "shrinkA": 0, "shrinkB": 0},
        annotation_clip=False,
    )


def _readable(color: str) -> str:
    """Text is thinner than a line: colours are darkened a little for it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{int(c * 0.78):02x}" for c in (red, green, blue))
