"""Stills for tests, and their attributes in words, from plain numbers."""

from __future__ import annotations

import math
from typing import Any

import torch

from petl_bench.pretrain.stills import (
    Stills,
    sample_stills,
)
from petl_bench.pretrain.vocabulary import (
    ORIENTATIONS,
    SIZES,
)
from petl_bench.synth import palette


def some_stills(count: int = 256, seed: int = 0, **options: Any) -> tuple[Stills, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return sample_stills(generator, count, **options), generator


def true_words(stills: Stills, i: int, k: int) -> dict[str, str]:
    """Attributes of object `k` of still `i` in words, from plain numbers."""
    scene = stills.scene
    zoom_x, zoom_y = scene.zoom[i].tolist()
    x = (scene.centre[i, k, 0].item() - scene.shift[i, 0].item()) * zoom_x
    y = (scene.centre[i, k, 1].item() - scene.shift[i, 1].item()) * zoom_y
    radius = scene.radius[i, k].item() * (zoom_x + zoom_y) / 2
    quarter = int((math.degrees(scene.angle[i, k].item()) + 45) % 360 // 90)
    bigger = scene.radius[i, k] > scene.radius[i, 1 - k]
    return {
        "size": SIZES[sum(radius > limit for limit in (0.19, 0.26, 0.34, 0.42))],
        "relative": "larger" if bigger else "smaller",
        "colour": list(palette.COLOURS)[int(stills.colour_name[i, k])],
        "shape": palette.SHAPES[int(scene.shape[i, k])],
        "orientation": ORIENTATIONS[quarter],
        "row": "top" if y > 1 / 3 else "bottom" if y < -1 / 3 else "middle",
        "column": "right" if x > 1 / 3 else "left" if x < -1 / 3 else "centre",
    }
