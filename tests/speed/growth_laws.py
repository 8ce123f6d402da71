"""The laws that measured growth is set beside.

With frozen weights, B clips of T frames of N tokens, width D and L blocks, a forward pass has multiply-adds

    L B T (12 N D^2 + 2 N^2 D)                 projections, MLP and attention within each frame: linear in B and T
    L B N (4 T D^2 + 2 T^2 D)                  attention over time, where a method has it; its T^2 is as much as
                                               all that is linear in T where T = 8 D + N

and the backward pass a fixed multiple of the part that has gradients. So a step takes `fixed + slope x`, x the
counted multiply-adds (over frames) or the clips (over batches).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np


def line_through(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """The line through measured points of least relative squared distance, with its values at x.

    Returns: fixed (at x = 0), slope, values, and the largest distance of a point from it as a share of the point.
    """
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    design = np.stack([np.ones_like(xs), xs], 1) / ys[:, None]
    fixed, slope = np.linalg.lstsq(design, np.ones_like(ys), rcond=None)[0]
    values = fixed + slope * xs
    off = float(np.max(np.abs(values / ys - 1)))
    return {"fixed": float(fixed), "slope": float(slope), "values": values.tolist(), "largest_distance": off}


def sum_of_parts(alone: Sequence[Sequence[Any]]) -> float:
    """Seconds of a lockstep's step from the turns of each member alone: data and the deepest prefix once, and the
    own compute of each."""
    data = median(turn.data for turns in alone for turn in turns)
    prefix = max(median(turn.prefix for turn in turns) for turns in alone)
    own = sum(median(sum(turn.own.values()) for turn in turns) for turns in alone)
    return data + prefix + own
