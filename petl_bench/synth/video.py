"""Clips of the two tasks, one at a time: frames and label follow from the arguments alone."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt
import torch

from petl_bench.errors import unknown_name
from petl_bench.synth import motions, palette
from petl_bench.synth.classes import (
    APPEARANCE_COLOURS,
    APPEARANCE_SHAPES,
    SPLITS,
    TASKS,
    Split,
    Task,
    label_of,
    scene_number,
)
from petl_bench.synth.renderer import render
from petl_bench.synth.scene import colours

# mild enough that the larger object stays the larger one
_APPEARANCE_GROWTH = (1.2, 1.45)


def generator_of(task: Task, split: Split, number: int, seed: int) -> torch.Generator:
    """The random stream of one scene; streams of different tasks, splits, numbers and seeds are unrelated."""
    key = f"petl-bench/{task}/{split}/{number}/{seed}".encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def render_video(
    task: Task, split: Split, index: int, *, size: int, length: int, seed: int
) -> tuple[npt.NDArray[np.uint8], int]:
    """Render one clip. Deterministic in its arguments on one machine; touches no global random state.

    Args:
        task: "motion" or "appearance".
        split: "train" or "test". Motion clips 2i and 2i + 1 of the test split are exact time reversals
            of one another and carry twin labels.
        index: number of the file in its split.
        size: height and width, pixels.
        length: frames.
        seed: of the whole data set.

    Returns:
        frames: uint8 (length, size, size, 3) RGB.
        label: index into `class_names(task)`.

    Raises:
        UserError: unknown task or split.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    label = label_of(task, split, index)
    generator = generator_of(task, split, scene_number(task, split, index), seed)
    draws = motions.draw(generator, 1, length)
    if task == "motion":
        pair, backwards = divmod(label, 2)
        scene = motions.forward(draws, pair, length)
    else:
        pair, backwards = divmod(int(torch.randint(2 * len(motions.PAIRS), (), generator=generator)), 2)
        scene = motions.forward(_with_appearance(draws, label), pair, length, growth=_APPEARANCE_GROWTH)
    frames = (render(scene, size) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return (np.ascontiguousarray(frames[::-1]) if backwards else frames), label


def _with_appearance(draws: motions.Draws, label: int) -> motions.Draws:
    """The draws of one clip with the larger object in the shape and colour of a class."""
    shape, colour = draws.base.shape.clone(), draws.base.colour.clone()
    larger = int(draws.base.radius[0].argmax())
    kind, hue = divmod(label, len(APPEARANCE_COLOURS))
    shape[0, larger] = palette.SHAPES.index(APPEARANCE_SHAPES[kind])
    name = list(palette.COLOURS).index(APPEARANCE_COLOURS[hue])
    colour[0, larger] = (colours("objects", colour.device)[name] + draws.jitter[0, larger]).clamp(0, 1)
    return dataclasses.replace(draws, base=draws.base.changed(shape=shape, colour=colour))
