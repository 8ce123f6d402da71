"""The report for a terminal: tables that fit its width, warnings in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from petl_bench.report.cautions import Caution
from petl_bench.report.collect import Comparison
from petl_bench.report.columns import Column, best, used_columns
from petl_bench.report.grid import Grid
from petl_bench.report.table import BLIND


@dataclass(frozen=True)
class TerminalTable:
    """One data set's table. Where the terminal is narrow, the least important columns are left out."""

    suite: str
    comparison: Comparison
    cautions: tuple[Caution, ...]
    notes: tuple[str, ...]
    grids: tuple[Grid, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"{self.suite} / {self.comparison.name}", style="bold")
        for caution in self.cautions:
            yield Text(f"! {caution.headline}", style="bold yellow")
            for line in caution.lines:
                yield Text(f"  {line}", style="yellow")
        if self.comparison.rows:
            columns = used_columns(self.comparison.rows)
            table = self._table(columns)
            while len(columns) > 1 and _width(table, console, options) > options.max_width:
                least = max(columns, key=lambda c: c.rank)
                columns.remove(least)
                table = self._table(columns)
            yield table
            dropped = [c.head for c in used_columns(self.comparison.rows) if c not in columns]
            if dropped:
                names = ", ".join(dropped)
                yield Text(f"No room for: {names}. See the files, or use a wider terminal.", style="dim")
        for note in self.notes:
            yield Text(note, style="dim")
        for grid in self.grids:
            yield Text("")
            yield grid

    def _table(self, columns: Sequence[Column]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
        table.add_column("method\n", no_wrap=True)
        for column in columns:
            table.add_column(f"{column.head}\n{column.unit}", justify="right", no_wrap=True)
        top = best(self.comparison)
        for row in self.comparison.rows:
            cells = [Text(row.label) + Text(f" {BLIND}" if row.order_blind else "", style="dim")]
            for column in columns:
                strong = column.key == "top1" and row.label in top
                cells.append(Text(column.cell(row), style="bold" if strong else ""))
            table.add_row(*cells)
        return table


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(width=10_000), table).maximum
