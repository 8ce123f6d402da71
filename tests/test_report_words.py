"""What a picture says in words: the text of reference lines, which stands where nothing else is, and its title."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from report_runs import record, write_run

from petl_bench.report.collect import compare
from petl_bench.report.figure import drawing, in_points, new_figure, not_drawable, settle, title
from petl_bench.report.paper_numbers import Paper
from petl_bench.report.plot_tradeoff import PARAMETERS, headline
from petl_bench.report.reference import along, draw_reference
from petl_bench.report.runs import read_runs


def _axes() -> tuple[Figure, Axes]:
    figure = new_figure(4.0)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 100))
    settle(figure)
    return figure, axes


def _extent(figure: Figure, axes: Axes) -> tuple[float, float, float, float]:
    """Of the text as it is drawn, in data units: x0, x1, y0, y1."""
    figure.draw_without_rendering()
    (text,) = (child for child in axes.get_children() if isinstance(child, Annotation))
    box = text.get_window_extent().transformed(axes.transData.inverted())
    return box.x0, box.x1, box.y0, box.y1


@pytest.mark.parametrize(
    ("line", "above", "at_left"),
    [
        ([(5, 52), (10, 52)], True, True),
        ([(0, 52), (6, 52)], True, False),
        ([(0, 52), (10, 52)], False, True),
        ([(0, 80), (10, 80)], True, True),
    ],
)
def test_the_text_avoids_lines(line: list[tuple[float, float]], above: bool, at_left: bool) -> None:
    with drawing():
        figure, axes = _axes()
        xs, ys = zip(*line, strict=True)
        taken = along(axes, xs, ys)
        room = draw_reference(axes, 50.0, "chance 50.0 %", taken)
        x0, x1, y0, y1 = _extent(figure, axes)
    assert (y0 >= 49.5) if above else (y1 <= 50.5)
    assert (x0 < 1) == at_left
    crossed = [x for x in range(11) if min(xs) <= x <= max(xs) and x0 <= x <= x1 and y0 <= ys[0] <= y1]
    assert not crossed
    lower, upper = in_points(axes, x0, y0), in_points(axes, x1, y1)
    text = room[0]
    assert text.x0 == pytest.approx(lower[0], abs=2) and text.x1 == pytest.approx(upper[0], abs=3)
    assert text.y0 <= lower[1] + 3 and text.y1 >= upper[1] - 3


def test_below_the_axis_there_is_no_line() -> None:
    with drawing():
        figure, axes = _axes()
        room = draw_reference(axes, None, "below this axis: chance 6.25 %", [])
        _, _, y0, y1 = _extent(figure, axes)
    assert len(room) == 1 and not axes.get_lines()
    assert 0 <= y0 < y1 < 20


def test_along_is_dense_between_the_corners() -> None:
    with drawing():
        _, axes = _axes()
        places = along(axes, [0, 10, 10], [0, 0, 100], steps=4)
        assert places[0] == in_points(axes, 0, 0) and places[-1] == in_points(axes, 10, 100)
        assert places[6] == pytest.approx(in_points(axes, 10, 50))
    assert len(places) == 9


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"noisy": ([60.0, 80.0, 99.0], 30_000)}, "best has the highest top-1, 92.0 %, with 67.0k trained parameters"),
        ({"equal": ([92.0], 90_000)}, "best and equal share the highest top-1, 92.0 %"),
        (
            {"near": ([91.5, 91.7, 91.9], 40_000)},
            "near comes within the standard deviation of best (91.7 and 92.0 % top-1) with 40.0k trained parameters "
            "instead of 67.0k",
        ),
    ],
)  # fmt: skip
def test_only_what_is_near_is_said_to_be(
    others: dict[str, tuple[list[float], int]], says: str, tmp_path: Path
) -> None:
    """Not a row whose own seeds scatter so much that the best is within them."""
    rows = {"best": ([91.5, 92.0, 92.5], 67_000), **others}
    for label, (values, params) in rows.items():
        for seed, top1 in enumerate(values):
            write_run(tmp_path, record(label, seed, top1, params=params))
    (found,) = compare(read_runs(tmp_path, "demo"), Paper([]))
    assert headline(found, PARAMETERS) == f"synth_motion: {says}"


def test_letters_without_a_font_are_named_and_no_warning() -> None:
    """Warnings are errors here. U+1F9EA, a test tube, is in no font of text."""
    assert not_drawable("plain, Größe, où\n") == ""
    assert not_drawable("tube \U0001f9ea\U0001f9ea") == "\U0001f9ea"
    with drawing():
        figure = new_figure(2.0)
        figure.add_subplot().set_xlabel("\U0001f9ea")
        title(figure, "\U0001f9ea", "one")
        settle(figure)
