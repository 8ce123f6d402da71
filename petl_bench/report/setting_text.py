"""Settings of methods as people read them: `3×1×1`, `last 2`, `before attn`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BLOCKS = "blocks"  # the setting that lists blocks by index, counted from the end where negative; None: all


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def amount(value: Any) -> float | None:
    """How much of a thing a setting asks for: a number itself, the length of a list."""
    if is_number(value):
        return float(value)
    return float(len(value)) if isinstance(value, (list, tuple)) else None


def default_amount(known: Sequence[tuple[float, float]], parameters: float) -> int | None:
    """The amount that a default stands for, from what it costs; None where that is not certain.

    Trained parameters are an affine function of a width, a rank or a number of blocks. The default's amount is
    read off the line through the variants, if all of them lie on it and the amount comes out whole.

    Args:
        known: (amount, trained parameters) of the variants that name their amount.
        parameters: trained parameters of the default.
    """
    points = sorted(set(known))
    (x0, p0), (x1, p1) = (points[0], points[-1]) if points else ((0.0, 0.0), (0.0, 0.0))
    if p1 == p0 or x1 == x0:
        return None
    slope = (p1 - p0) / (x1 - x0)
    if any(abs(p0 + slope * (x - x0) - p) > 0.5 for x, p in points):
        return None
    found = x0 + (parameters - p0) / slope
    return round(found) if found > 0 and abs(found - round(found)) < 1e-6 * max(1.0, found) else None


def block_indices(value: Any, depth: int | None) -> tuple[int, ...] | None:
    """Indices of blocks, counted from the front where the depth is known; None where they cannot be known."""
    if value is None:
        return None if depth is None else tuple(range(depth))
    if depth is None:
        return tuple(sorted(value)) if min(value) >= 0 or max(value) < 0 else None
    return tuple(sorted(i % depth for i in value))


def value_text(setting: str, value: Any, depth: int | None = None) -> str:
    """A setting's value for an axis or a table.

    Args:
        setting: its name.
        value: as in the record; None: the method's default.
        depth: blocks of the backbone, where known.
    """
    if setting == BLOCKS and (value is None or isinstance(value, (list, tuple))):
        return _blocks(value, depth)
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        if all(is_number(v) for v in value):
            return "×".join(f"{v:g}" for v in value)
        return " + ".join(str(v).replace("_", " ") for v in value)
    return str(value).replace("_", " ")


def _blocks(value: Sequence[int] | None, depth: int | None) -> str:
    if value is None:
        return f"all {depth}" if depth else "all"
    n = len(value)
    indices = block_indices(value, depth)
    if depth and indices == tuple(range(depth)):
        return f"all {depth}"
    if sorted(value) == list(range(n)):
        return f"first {n}"
    if sorted(value) == list(range(-n, 0)) or (depth and indices == tuple(range(depth - n, depth))):
        return f"last {n}"
    # blocks are counted from 1 for people
    said = [str(i + 1) if i >= 0 else str(i) for i in indices or sorted(value)]
    if indices and n > 2 and indices == tuple(range(indices[0], indices[-1] + 1)):
        said = [f"{said[0]} to {said[-1]}"]
    return ("block " if n == 1 else "blocks ") + ", ".join(said)
