"""Which frames of a video make a clip: TSN segments or a dense run, in training and in test views.

Every function returns the same indices when a video is reversed, mirrored: `length - 1 - indices[::-1]` in
test views (the order of temporal views mirrored too), in distribution in training. The 50 % ceiling of
methods blind to frame order on time-reversed pairs rests on that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petl_bench.dataset_config import Sampling

Indices = NDArray[np.int64]


def train_indices(length: int, sampling: Sampling, rng: np.random.Generator) -> Indices:
    """Frames of a training clip, ascending; videos that are too short repeat frames.

    segments: a random frame of each of `frames` equal parts (TSN, Wang et al. 2016). dense: every
    `stride`-th frame from a random start; past the end, the last frame.

    Args:
        length: frames of the video, at least 1.

    Returns:
        (frames,) in 0..length-1.
    """
    T = sampling.frames
    if sampling.mode == "segments":
        indices = ((np.arange(T) + rng.random(T)) * length / T).astype(np.int64)
        return np.minimum(indices, length - 1)
    span = (T - 1) * sampling.stride + 1
    start = int(rng.integers(max(length - span, 0) + 1))
    return np.minimum(start + np.arange(T) * sampling.stride, length - 1).astype(np.int64)


def view_indices(length: int, sampling: Sampling, temporal: int) -> Indices:
    """Frames of the temporal test views of a video.

    segments: the video is cut into `frames x temporal` equal parts; a view takes every `temporal`-th centre.
    dense: runs whose starts are spread evenly from the first possible to the last; one view is the middle.

    Args:
        length: frames of the video, at least 1.
        temporal: number of views.

    Returns:
        (temporal, frames) in 0..length-1, each row ascending.
    """
    T = sampling.frames
    if sampling.mode == "segments":
        return _centres(length, T * temporal).reshape(T, temporal).T
    span = (T - 1) * sampling.stride + 1
    room = max(length - span, 0)
    starts = _mirrored(np.linspace(0, room, temporal) if temporal > 1 else np.array([room / 2]), room)
    indices = starts[:, None] + np.arange(T) * sampling.stride
    return np.minimum(indices, length - 1).astype(np.int64)


def _centres(length: int, parts: int) -> Indices:
    """The middle frames of equal parts of a video."""
    return _mirrored((np.arange(parts) + 0.5) * length / parts - 0.5, length - 1)


def _mirrored(positions: NDArray[np.float64], last: int) -> Indices:
    """Positions in 0..last rounded to whole numbers so that the second half mirrors the first."""
    half = (len(positions) + 1) // 2
    # rounding half down; 1e-9 keeps the error of floats from deciding
    first = np.clip(np.ceil(positions[:half] - 0.5 - 1e-9), 0, last).astype(np.int64)
    second = last - first[: len(positions) - half][::-1]
    return np.concatenate([first, second])
