"""The studies of a data set: of settings, of shares of the data, of the order of frames. Tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from petl_bench.report.collect import Comparison
from petl_bench.report.figure import Colors, drawing, file_name, save
from petl_bench.report.grid import Grid
from petl_bench.report.plot_fractions import MOST_LINES, data_efficiency
from petl_bench.report.plot_order import frame_order
from petl_bench.report.plot_sweeps import sweep_panels
from petl_bench.report.study_tables import (
    fraction_csv,
    fraction_grid,
    order_csv,
    order_grid,
    order_rows,
    sweep_csv,
    sweep_grid,
)
from petl_bench.report.sweeps import Sweep, data_lines, main_rows, sweeps_of
from petl_bench.results import write_atomic


@dataclass(frozen=True)
class Study:
    """A table with its picture, as written.

    Attributes:
        pictures: file -> what it shows.
        table: the table's raw numbers.
    """

    grid: Grid
    pictures: dict[Path, str]
    table: Path


def write_studies(folder: Path, comparison: Comparison, palette: Colors) -> list[Study]:
    """Write every study that the rows allow."""
    name = file_name(comparison.name)
    out = []
    for stem, grid, csv, draw in _found(comparison, palette):
        table = folder / f"{stem}_{name}.csv"
        write_atomic(table, csv)
        pictures: dict[Path, str] = {}
        if draw:
            with drawing():
                figure = draw()
                pictures = dict.fromkeys(save(figure, folder / f"{stem}_{name}"), str(figure.get_label()))
        out.append(Study(grid, pictures, table))
    return out


def _found(
    comparison: Comparison, palette: Colors
) -> Iterator[tuple[str, Grid, str, Callable[[], Figure] | None]]:
    dataset = comparison.name
    by_method: dict[tuple[str, str], list[Sweep]] = {}
    for sweep in sweeps_of(comparison.rows):
        by_method.setdefault((sweep.method, sweep.backbone), []).append(sweep)
    for (method, backbone), sweeps in by_method.items():
        several = len({b for m, b in by_method if m == method}) > 1
        stem = file_name(f"settings_{method}_{backbone}" if several else f"settings_{method}")
        yield (
            stem,
            sweep_grid(sweeps),
            sweep_csv(sweeps),
            lambda sweeps=sweeps: sweep_panels(dataset, sweeps),  # type: ignore[misc]
        )
    if lines := data_lines(comparison.rows):
        yield (
            "fractions",
            fraction_grid(lines),
            fraction_csv(lines),
            lambda: data_efficiency(comparison, lines[:MOST_LINES], palette),
        )
    # variants have a column of their table for it
    if rows := order_rows(main_rows(comparison).rows):
        draw = (lambda: frame_order(comparison, rows)) if len(rows) > 1 else None
        yield "order", order_grid(rows), order_csv(rows), draw
