"""Work that the package does in processes of their own, done in this one: starting them takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from petl_bench.data import prepare
from petl_bench.data.isolated import Outcome


def run_here(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    jobs: int,
    timeout: float,
    name: Callable[[Any], str] = str,
) -> Generator[tuple[int, Outcome[Any]], None, None]:
    """As `run_isolated`, for work that neither crashes nor hangs."""
    close_writers()  # each run has new processes
    for position, item in enumerate(items):
        yield position, Outcome("done", function(item))


def close_writers() -> None:
    """Close the files that preparing in this process has open."""
    for writer in prepare._writers.values():
        writer.close()
    prepare._writers.clear()


def use_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("prepare", "check"):
        monkeypatch.setattr(f"petl_bench.data.{module}.run_isolated", run_here)
