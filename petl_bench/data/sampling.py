"""Which frames of a video make a clip: TSN segments or a dense run, in training and in test views.

With `segments`, and with `dense` where the run fits in the video, the frames of a reversed video are the same,
mirrored: `length - 1 - indices[::-1]` in test views (the order of temporal views mirrored too; no choice is
symmetric where an odd number of frames asks for the middle of an even-numbered video), in distribution in training.
The 50 % ceiling of methods blind to frame order on time-reversed pairs rests on that.

`official_segments` and `dense` give the frames of the official ST-Adapter code (linziyi96/st-adapter, bded03c,
video_dataset/dataset.py), with one exception: for 7 dense test views, and some numbers above 10, Python's
rounding of halves breaks the symmetry there, so that one view in some videos starts a frame elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petl_bench.dataset_config import Sampling

Indices = NDArray[np.int64]


def train_indices(length: int, sampling: Sampling, rng: np.random.Generator) -> Indices:
    """Frames of a training clip, ascending; videos that are too short repeat frames.

    segments: a random frame of each of `frames` equal parts (TSN, Wang et al. 2016). official_segments: of parts
    whose ends belong to both neighbours. dense: every `stride`-th frame from a random start; past the end, the
    last one of them that there is.

    Args:
        length: frames of the video, at least 1.

    Returns:
        (frames,) in 0..length-1.
    """
    T = sampling.frames
    if sampling.mode == "segments":
        indices = ((np.arange(T) + rng.random(T)) * length / T).astype(np.int64)
        return np.minimum(indices, length - 1)
    if sampling.mode == "official_segments":
        bounds = _shared_bounds(length, T)
        return rng.integers(bounds[:-1], bounds[1:] + 1)
    steps = np.arange(T, dtype=np.int64) * sampling.stride
    start = int(rng.integers(max(length - 1 - int(steps[-1]), 0) + 1))
    return np.minimum(start + steps, start + (length - 1 - start) // sampling.stride * sampling.stride)


def view_indices(length: int, sampling: Sampling, temporal: int) -> Indices:
    """Frames of the temporal test views of a video.

    segments: the video is cut into `frames x temporal` equal parts; a view takes every `temporal`-th centre.
    official_segments: the same with its parts. dense: runs whose starts are spread evenly from the first possible
    to the last, one view is the middle; past the end of the video, its last frame.

    Args:
        length: frames of the video, at least 1.
        temporal: number of views.

    Returns:
        (temporal, frames) in 0..length-1, each row ascending.
    """
    T = sampling.frames
    if sampling.mode == "segments":
        return _centres(length, T * temporal).reshape(T, temporal).T
    if sampling.mode == "official_segments":
        bounds = _shared_bounds(length, T * temporal)
        return ((bounds[:-1] + bounds[1:]) // 2).reshape(T, temporal).T
    steps = np.arange(T, dtype=np.int64) * sampling.stride
    starts = _starts(max(length - 1 - int(steps[-1]), 0), temporal)
    return np.minimum(starts[:, None] + steps, length - 1)


def _shared_bounds(length: int, parts: int) -> Indices:
    """The parts + 1 ends of parts of 0..length-1; Python's rounding, halves to even, as in the official code."""
    return np.array([round((length - 1) / parts * i) for i in range(parts + 1)], dtype=np.int64)


def _starts(room: int, views: int) -> Indices:
    """Where dense test views start, in 0..room; the second half mirrors the first."""
    if views == 1:
        return np.array([room // 2], dtype=np.int64)
    first = [round(room / (views - 1) * i) for i in range((views + 1) // 2)]
    return np.array([*first, *(room - start for start in reversed(first[: views // 2]))], dtype=np.int64)


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
