"""Clocks of device work that do not make the device wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Seconds of work on a device, one lap for each `with clock.lap()`.

    On GPUs laps are pairs of events, read only when somebody asks (`read` waits for the device then).
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._laps: list[float] = []
        self._pending: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def lap(self) -> Iterator[None]:
        if self._cuda:
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._pending.append((start, end))
        else:
            begin = time.perf_counter()
            yield
            self._laps.append(time.perf_counter() - begin)

    def read(self) -> list[float]:
        """Seconds of every lap since the last `read`."""
        if self._pending:
            self._pending[-1][1].synchronize()
            self._laps += [a.elapsed_time(b) / 1000 for a, b in self._pending]
            self._pending.clear()
        laps, self._laps = self._laps, []
        return laps
