"""A small table that is written as Markdown and shown in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from petl_bench.report.intervals import Interval
from petl_bench.report.table import markdown_table


@dataclass(frozen=True)
class Grid:
    """Text in rows and columns, the most important columns first: a narrow terminal shows those that fit.

    Attributes:
        title: what it shows.
        text: how to read it, in prose.
        head: names of the columns.
        rows: cells, each row as long as `head`.
        left: how many columns stand to the left; the others are numbers and stand to the right.
        last: how many columns at the end stand to the left, too.
        strong: indices of rows that stand out.
    """

    title: str
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    last: int = 0
    strong: tuple[int, ...] = ()

    def markdown(self) -> str:
        """The table alone."""
        rows = [
            tuple(f"**{cell}**" if i in self.strong and cell else cell for cell in row)
            for i, row in enumerate(self.rows)
        ]
        return markdown_table(self.head, rows, self.left, self.last)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, style="bold")
        columns = len(self.head)
        table = self._table(columns)
        while columns > self.left + 1 and _width(table, console, options) > options.max_width:
            columns -= 1
            table = self._table(columns)
        yield table
        if columns < len(self.head):
            names = ", ".join(self.head[columns:])
            yield Text(f"No room for: {names}. See the files, or use a wider terminal.", style="dim")
        yield Text(self.text, style="dim")

    def _table(self, columns: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
        for i, name in enumerate(self.head[:columns]):
            text = i < self.left or i >= len(self.head) - self.last
            table.add_column(name, justify="left" if text else "right", no_wrap=True)
        for i, row in enumerate(self.rows):
            style = "bold" if i in self.strong else ""
            table.add_row(*(Text(cell, style=style) for cell in row[:columns]))
        return table


def difference_text(found: Interval | None, unit: str = "") -> str:
    """`+1.3 [-0.2, 2.8]`; without limits where there is one value, nothing where there is none."""
    if found is None:
        return ""
    text = f"{found.mean:+.1f}{unit}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:.1f}, {found.high:.1f}]"


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(width=10_000), table).maximum


def columns_of(rows: Sequence[Sequence[str]], head: Sequence[str], left: int) -> tuple[tuple[str, ...], ...]:
    """Head and rows without the columns that hold nothing, the first `left` kept."""
    used = [i for i in range(len(head)) if i < left or any(row[i] for row in rows)]
    return tuple(tuple(line[i] for i in used) for line in (head, *rows))
