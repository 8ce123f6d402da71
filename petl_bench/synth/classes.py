"""The classes of the two rendered tasks, fixed before any model was trained on them. Free of torch."""

from __future__ import annotations

from typing import Final, Literal

from petl_bench.errors import unknown_name

Task = Literal["motion", "appearance"]
Split = Literal["train", "test"]

MOTIONS: Final = (
    ("right", "Pushing something from left to right"),
    ("left", "Pushing something from right to left"),
    ("up", "Moving something up"),
    ("down", "Moving something down"),
    ("closer", "Moving something towards the camera"),
    ("away", "Moving something away from the camera"),
    ("together", "Moving two things closer to each other"),
    ("apart", "Moving two things away from each other"),
    ("cover", "Covering something with something"),
    ("uncover", "Uncovering something"),
    ("clockwise", "Turning something clockwise"),
    ("counterclockwise", "Turning something counterclockwise"),
    ("into view", "Fading something into view"),
    ("out of view", "Fading something out of view"),
    ("opening", "Opening something"),
    ("closing", "Closing something"),
)
"""(short name, template) of each motion class; classes 2p and 2p + 1 are time-reversed twins."""

APPEARANCE_SHAPES: Final = ("circle", "triangle", "star", "ring", "cross", "heart")
# two pairs of neighbours in hue: telling only "warm" from "cold" is not enough
APPEARANCE_COLOURS: Final = ("red", "orange", "blue", "purple")

TASKS: Final[tuple[Task, ...]] = ("motion", "appearance")
SPLITS: Final[tuple[Split, ...]] = ("train", "test")

# One fixed order of labels per task, so that neighbouring files differ in more than one attribute.
_MOTION_PAIR_ORDER: Final = (3, 0, 6, 5, 1, 7, 4, 2)
_MOTION_ORDER: Final = (6, 1, 13, 10, 3, 14, 8, 5, 0, 11, 15, 4, 2, 12, 9, 7)
_APPEARANCE_STRIDE: Final = 7  # coprime to 24: every label once in 24 files


def class_names(task: Task) -> list[str]:
    """Names of the classes in the order of their labels. Motion names follow Something-Something-v2."""
    if task == "motion":
        return [template for _, template in MOTIONS]
    if task == "appearance":
        return [f"large {colour} {shape}" for shape in APPEARANCE_SHAPES for colour in APPEARANCE_COLOURS]
    raise unknown_name("task", task, TASKS)


def short_names(task: Task) -> list[str]:
    """Names that fit on an axis, in the order of the labels."""
    return [short for short, _ in MOTIONS] if task == "motion" else class_names(task)


def pairs(task: Task) -> list[tuple[int, int]]:
    """Labels of time-reversed twins, (forward, reversed); none for a task without direction."""
    return [(i, i + 1) for i in range(0, len(MOTIONS), 2)] if task == "motion" else []


def label_of(task: Task, split: Split, index: int) -> int:
    """The label of a file: follows from its index alone, so that every class is equally frequent.

    Motion clips of the test split come in couples: 2i and 2i + 1 are twins.
    """
    if task == "appearance":
        classes = len(APPEARANCE_SHAPES) * len(APPEARANCE_COLOURS)
        return index * _APPEARANCE_STRIDE % classes
    if split == "test":
        couple = index // 2
        pair = _MOTION_PAIR_ORDER[couple % len(_MOTION_PAIR_ORDER)]
        return 2 * pair + (index + couple // len(_MOTION_PAIR_ORDER)) % 2
    return _MOTION_ORDER[index % len(_MOTION_ORDER)]


def scene_number(task: Task, split: Split, index: int) -> int:
    """Which scene a file shows: the two clips of a couple of the motion test split share one."""
    return index // 2 if task == "motion" and split == "test" else index
