"""The picture and the table of `growth.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from petl_bench.report.figure import FONT, INK, PALE, PALETTE, RULE, SMALL, new_figure, readable, title
from petl_bench.report.table import markdown_table

BLUE, RED, GREEN = PALETTE[:3]


def draw(result: dict[str, Any]) -> Figure:
    """Two columns: time on the left, memory (or what follows from the time) on the right."""
    figure = new_figure(12.0)
    machine, settings = result["machine"], result["settings"]
    says = "A step's time is linear in frames and clips; a lockstep costs the sum of its members' own compute"
    how = (
        f"Dots: medians of {settings['rounds']} rounds on {machine['device']}, {settings['backbone']}, "
        f"{settings['seconds']}{', a core shared with others' if machine['shared_with_other_work'] else ''}. "
        f"Lines: the expected law. Memory: {settings['memory']}."
    )
    title(figure, says, how)
    axes = figure.subplots(4, 2)
    for panel in axes.flat:
        panel.set_ylim(bottom=0)
    _frames(axes[0], result["frames"])
    _batch(axes[1], result["batch"])
    _methods(axes[2], result["methods"])
    _clips(axes[3][0], result["clips"])
    _run(axes[3][1], result["run"])
    return figure


def _series(
    axes: Axes,
    x: Sequence[float],
    dots: Sequence[float],
    law: Sequence[float],
    color: str,
    name: str = "",
    above: bool = True,
) -> None:
    axes.plot(x, law, color=color, lw=1.6, alpha=0.6, zorder=2)
    axes.plot(x, dots, "o", color=color, ms=6, zorder=3)
    if name:
        place = {"xytext": (-6, 8), "va": "bottom"} if above else {"xytext": (0, -24), "va": "top"}
        axes.annotate(
            name,
            (x[-1], dots[-1]),
            textcoords="offset points",
            ha="right",
            color=readable(color),
            fontsize=SMALL,
            **place,
        )


def _dress(axes: Axes, name: str, x: Sequence[float], xlabel: str, ylabel: str, highest: float) -> None:
    axes.set_title(name, fontsize=FONT, loc="left", color=INK)
    axes.set_xlabel(xlabel, fontsize=SMALL)
    axes.set_ylabel(ylabel, fontsize=SMALL)
    axes.set_xticks(x)
    axes.set_xlim(0, max(x) * 1.06)
    axes.set_ylim(0, highest * 1.25)


def _ms(values: Sequence[float]) -> list[float]:
    return [1000 * v for v in values]


def _frames(pair: Any, found: dict[str, Any]) -> None:
    left, right = pair
    x = found["x"]
    kinds = [("temporal", RED, "temporal: attention over time, too"), ("st_adapter", BLUE, "st_adapter")]
    for method, color, name in kinds:
        f = found[method]
        over = method == "temporal"
        _series(left, x, _ms(f["seconds"]), _ms(f["law"]["values"]), color, name, above=over)
        _series(right, x, f["memory_mb"], f["memory_law"]["values"], color, name.split(":")[0], above=over)
    top = found["temporal"]
    note = f"frames of a clip (batch of {found['batch']})"
    _dress(
        left, "Frames: law fixed + counted multiply-adds", x, note, "ms per step", max(_ms(top["seconds"]))
    )
    _dress(right, "Frames: memory, law fixed + frames", x, note, "MiB", max(top["memory_mb"]))


def _batch(pair: Any, found: dict[str, Any]) -> None:
    left, right = pair
    x = found["x"]
    _series(left, x, _ms(found["seconds"]), _ms(found["law"]["values"]), BLUE)
    _series(right, x, found["memory_mb"], found["memory_law"]["values"], BLUE)
    note = f"clips of a batch ({found['frames']} frames, st_adapter)"
    _dress(left, "Batch: law fixed + clips", x, note, "ms per step", max(_ms(found["seconds"])))
    _dress(right, "Batch: memory, law fixed + clips", x, note, "MiB", max(found["memory_mb"]))


def _methods(pair: Any, found: dict[str, Any]) -> None:
    left, right = pair
    x = found["x"]
    note = f"methods in lockstep (batch of {found['batch']}, {found['frames']} frames)"
    for axes, dots, law, one, unit in (
        (left, _ms(found["seconds"]), _ms(found["law"]), _ms(found["one_by_one"]), "ms per step"),
        (right, found["held_mb"], found["held_law"], found["held_one_by_one"], "MiB"),
    ):
        axes.plot(x, one, color=RULE, lw=1.4, ls="--")
        axes.annotate(
            "each alone",
            (x[-1], one[-1]),
            xytext=(-8, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=PALE,
            fontsize=SMALL,
        )
        _series(axes, x, dots, law, GREEN, "lockstep", above=False)
        what = "time, law data + prefix + sum of own" if axes is left else "weights and optimizer state held"
        _dress(axes, f"Methods: {what}", x, note, unit, max(*dots, *one))


def _clips(axes: Axes, found: dict[str, Any]) -> None:
    x, times = found["x"], _ms(found["seconds"])
    _series(axes, x, times, [1000 * found["law"]] * len(x), BLUE)
    _dress(axes, "Clips of the data set: law constant", x, "training clips", "ms per step", max(times))


def _run(axes: Axes, found: dict[str, Any]) -> None:
    times = _ms(found["seconds"])
    axes.axhline(1000 * found["law"], color=BLUE, lw=1.6, alpha=0.6)
    axes.plot(found["x"], times, "o", color=BLUE, ms=4)
    ticks = found["x"][4::5]
    _dress(axes, "Along a run: law constant", ticks, "step", "ms per step", max(times))


def table(result: dict[str, Any]) -> str:
    """What was measured beside what the law gives, in Markdown."""
    lines: list[list[str]] = []

    def add(what: str, x: Sequence[Any], measured: Sequence[float], law: Sequence[float], unit: str) -> None:
        shown = [" / ".join(f"{v:.0f}" for v in values) for values in (measured, law)]
        off = max(abs(m / expected - 1) for m, expected in zip(measured, law, strict=True))
        lines.append([what, " / ".join(map(str, x)), unit, *shown, f"{100 * off:.0f} %"])

    frames, batch, methods = result["frames"], result["batch"], result["methods"]
    clips, run = result["clips"], result["run"]
    for method in ("st_adapter", "temporal"):
        f = frames[method]
        add(f"frames, {method}", frames["x"], _ms(f["seconds"]), _ms(f["law"]["values"]), "ms")
        add(f"frames, {method}", frames["x"], f["memory_mb"], f["memory_law"]["values"], "MiB")
    add("batch", batch["x"], _ms(batch["seconds"]), _ms(batch["law"]["values"]), "ms")
    add("batch", batch["x"], batch["memory_mb"], batch["memory_law"]["values"], "MiB")
    add("methods in lockstep", methods["x"], _ms(methods["seconds"]), _ms(methods["law"]), "ms")
    add("methods, weights and state", methods["x"], methods["held_mb"], methods["held_law"], "MiB")
    add("training clips", clips["x"], _ms(clips["seconds"]), [1000 * clips["law"]] * len(clips["x"]), "ms")
    add("training clips", clips["x"], clips["memory_mb"], [clips["memory_mb"][0]] * len(clips["x"]), "MiB")
    ends = [run["first_quarter"], run["last_quarter"]]
    add("first, last quarter of a run", ["first", "last"], _ms(ends), [1000 * run["law"]] * 2, "ms")
    head = ["growth with", "at", "unit", "measured", "law", "largest distance"]
    return markdown_table(head, lines, left=2)
