"""What the scripts of this folder share: where a figure was measured, and how it is written down."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from petl_bench.provenance import device_name, git_state, package_versions


def machine(device: torch.device) -> dict[str, Any]:
    """Where and with what a figure was measured."""
    commit, dirty = git_state()
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": device_name(str(device)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "commit": commit,
        "dirty": dirty,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def synchronised(device: torch.device) -> float:
    """Seconds on the clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def in_turn(
    work: dict[str, Callable[[], None]], device: torch.device, rounds: int, warmup: int = 2
) -> dict[str, float]:
    """Median seconds of each piece of work; they take turns, so that a drift of the machine meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(warmup + rounds):
        for name, do in work.items():
            begin = synchronised(device)
            do()
            end = synchronised(device)
            if turn >= warmup:
                seconds[name].append(end - begin)
    return {name: median(values) for name, values in seconds.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; numbers to three digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    lines = [names, ["-" * w for w in widths], *cells]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def write(result: dict[str, Any], rows: list[dict[str, Any]], out: Path | None) -> None:
    """Print the table; with `out`, write the whole as JSON, and the table beside it."""
    print(table(rows))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
        out.with_suffix(".md").write_text(table(rows) + "\n")
