"""The rows of a table that a claim speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petl_bench.report.claims import Rows
from petl_bench.report.collect import Row
from petl_bench.report.setting_text import block_indices, is_number
from petl_bench.report.sweeps import Sweep, base_of, sweeps_of


def select(wanted: Rows, rows: Sequence[Row], backbone: str) -> list[Row]:
    """The rows that are meant, all on one backbone and trained on the same share of the clips."""
    if wanted.vary is None:
        base = base_of(rows, wanted.method, backbone)
        return [base] if base else []
    sweep = next(
        (
            s
            for s in sweeps_of(rows)
            if (s.method, s.backbone, s.setting) == (wanted.method, backbone, wanted.vary)
        ),
        None,
    )
    if sweep is None:
        return []
    return [v.row for v in sweep.variants if _fits(wanted, features(v.value, sweep))]


def features(value: Any, sweep: Sweep) -> dict[str, Any]:
    """What a claim may ask of a setting's value; only what is known of it."""
    out: dict[str, Any] = {}
    base = next(v.value for v in sweep.variants if v.row is sweep.base)
    if is_number(value):
        if is_number(base) and base:
            out["share"] = value / base
        return out
    if value is None and sweep.depth:
        value = tuple(range(sweep.depth))
    if not isinstance(value, (list, tuple)):
        return out
    out["count"] = len(value)
    if sweep.depth:
        out["share"] = len(value) / sweep.depth
    if all(is_number(v) for v in value) and value:
        out |= {"time": value[0], "space": max(value[1:], default=1)}
        indices = block_indices(value, sweep.depth)
        n = len(value)
        if sweep.depth != n and indices:
            if indices == tuple(range(n)):
                out["end"] = "first"
            elif indices == tuple(range(-n, 0)) or (
                sweep.depth and indices == tuple(range(sweep.depth - n, sweep.depth))
            ):
                out["end"] = "last"
    return out


def count_of(row: Row, wanted: Rows) -> int | None:
    """The length of the list that `vary` names; None for a default."""
    value = row.settings.get(wanted.vary) if wanted.vary else None
    return len(value) if isinstance(value, (list, tuple)) else None


def _fits(wanted: Rows, known: dict[str, Any]) -> bool:
    for name, asked in wanted.conditions().items():
        value = known.get(name)
        if value is None:
            return False
        if isinstance(asked, str):
            if value != asked:
                return False
        elif not asked[0] <= value <= asked[1]:
            return False
    return True
