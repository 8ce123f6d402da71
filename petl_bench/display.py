"""What a person sees while methods train: live on a terminal, plain lines elsewhere, nothing in tests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text


@dataclass
class Row:
    """What is shown of a method."""

    loss: float | None = None
    train_top1: float | None = None
    validation_top1: float | None = None
    clips_per_second: float | None = None
    seconds_left: float | None = None  # of this method's own compute
    note: str = ""


def clock_text(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class Display:
    """Shows nothing. The base of the others: the loop talks to it without asking which it is."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """A line that stays."""

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """A pass with a bar begins."""

    def advance(self, done: int) -> None:
        """How far the pass is."""

    def rows(self, rows: dict[str, Row]) -> None:
        """New values of methods."""

    def note(self, text: str) -> None:
        """A word beside the bar."""


class PlainDisplay(Display):
    """Lines of text, at most one in `every` seconds for each pass."""

    def __init__(self, console: Console, every: float = 10.0) -> None:
        self.console = console
        self.every = every
        self._task, self._total, self._first = "", 0, 0
        self._began = self._last = time.monotonic()
        self._rows: dict[str, Row] = {}
        self._note = ""

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self._note = text

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self._task, self._total, self._first, self._note = task, total, done, ""
        self._began = self._last = time.monotonic()

    def rows(self, rows: dict[str, Row]) -> None:
        self._rows.update(rows)

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last < self.every and done < self._total:
            return
        self._last = now
        left = (now - self._began) / max(1, done - self._first) * (self._total - done)
        parts = [
            f"{self._task} {done}/{self._total}",
            f"{clock_text(left)} left",
            *filter(None, [self._note]),
        ]
        if self._task.startswith("train"):
            parts += [
                f"{label} loss {row.loss:.3f} top-1 {row.train_top1:.0f}%"
                for label, row in self._rows.items()
                if row.loss is not None and row.train_top1 is not None and not row.note
            ]
        self.console.print("  ".join(parts), highlight=False, soft_wrap=True)


class LiveDisplay(Display):
    """One bar for the data and a row for each method, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("", total=1, visible=False, note="")
        self._rows: dict[str, Row] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self._bar.reset(self._task, description=task, total=total, completed=done, visible=True, note="")

    def advance(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def note(self, text: str) -> None:
        self._bar.update(self._task, note=text)

    def rows(self, rows: dict[str, Row]) -> None:
        self._rows.update(rows)

    def _render(self) -> Constrain:
        # room for the ^C of a terminal: on a full line it would begin another, and leave a bar behind
        width = self.console.width - 3
        return Constrain(self._table_and_bar(width), width)

    def _table_and_bar(self, width: int) -> Group:
        if not self._rows:
            return Group(self._bar)
        narrow = width < 97
        table = Table(box=None, padding=(0, 1), header_style="dim")
        table.add_column("method", no_wrap=True)
        heads = (
            ("loss", "train", "val", "clips/s")
            if narrow
            else ("loss", "train top-1", "validation top-1", "clips/s")
        )
        for head in heads:
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, overflow="ellipsis")
        for label, row in self._rows.items():
            table.add_row(
                label,
                "" if row.loss is None else f"{row.loss:.3f}",
                "" if row.train_top1 is None else f"{row.train_top1:.1f} %",
                "" if row.validation_top1 is None else f"{row.validation_top1:.1f} %",
                "" if row.clips_per_second is None else f"{row.clips_per_second:.0f}",
                "" if row.seconds_left is None else clock_text(row.seconds_left),
                Text(row.note, style="yellow", no_wrap=True, overflow="ellipsis"),
            )
        return Group(table, self._bar)


class Passes:
    """Passes that begin when they are first heard of."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._begun: set[str] = set()

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """How far a pass is, and a word beside its bar."""
        if task not in self._begun:
            self._begun.add(task)
            self._display.begin(task, total, done)
        self._display.note(note)
        self._display.advance(done)


def make_display(console: Console, quiet: bool = False) -> Display:
    """Live on a terminal, plain lines elsewhere, nothing when quiet."""
    if quiet:
        return Display()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
