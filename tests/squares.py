"""A data set of tiny videos: a square that goes right, goes left or stays, which no single frame tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from video_files import write_file

from petl_bench.dataset_config import Augment, DatasetConfig, ListSource, Sampling, Views

SIZE, WIDTH, LENGTH = 32, 44, 12
WAYS = ((0, 32), (32, 0), (16, 16))  # of the square's left edge, by class
CLIPS = {"train": 35, "test": 17}


def moving_square(label: int, number: int) -> NDArray[np.uint8]:
    """(12, 32, 44, 3), the square bright, on noise."""
    rng = np.random.default_rng((label, number))
    frames = rng.integers(30, 110, (LENGTH, SIZE, WIDTH, 3), dtype=np.uint8)
    top, color = int(rng.integers(SIZE - 12)), rng.integers(150, 256, 3)
    for frame, left in zip(frames, np.linspace(*WAYS[label], LENGTH).astype(int), strict=True):
        frame[top : top + 12, left : left + 12] = color
    return frames


def write_squares(root: Path) -> DatasetConfig:
    """35 clips to train and validate on, 17 to test on; four frames of each, three views, no resizing."""
    for split, count in CLIPS.items():
        lines = []
        for number in range(count):
            label, file = number % len(WAYS), f"{split}/{number}.mp4"
            frames = moving_square(label, 100 * (split == "test") + number)
            write_file(root / file, frames, preset="ultrafast")
            lines.append(f"{file} {label}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return DatasetConfig(
        name="squares",
        summary="",
        classes=len(WAYS),
        source=ListSource(kind="list"),
        root=str(root),
        sampling=Sampling(frames=4),
        augment=Augment(crop="jitter", jitter=(1.0, 1.0), flip=True),
        views=Views(spatial=3),
    )
