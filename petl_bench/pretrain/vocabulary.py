"""The closed vocabulary of the captions. Free of torch."""

from __future__ import annotations

from typing import Final, Literal

from petl_bench.synth import palette

Attribute = Literal["shapes", "places", "angles", "background", "colours", "sizes", "panels"]
TELLING: Final[tuple[Attribute, ...]] = ("shapes", "places", "angles")
ATTRIBUTES: Final[tuple[Attribute, ...]] = (*TELLING, "background", "colours", "sizes", "panels")
"""What stills of a group may have in common; at least one of `TELLING` stays free."""

SIZES: Final = ("tiny", "small", "medium", "big", "huge")
ROWS: Final = ("top", "middle", "bottom")
COLUMNS: Final = ("left", "centre", "right")
ORIENTATIONS: Final = ("upright", "leaning-left", "upside-down", "leaning-right")
"""Where an object's mark points: up, left, down, right."""
RELATIONS: Final = ("right-of", "above", "left-of", "below")
GAPS: Final = ("closed", "ajar", "open")

WORDS: Final = (
    "<pad>",
    "<start>",
    "a",
    "thing",
    "faint",
    "hidden",
    "larger",
    "smaller",
    "near",
    "far-from",
    "and",
    "on",
    "background",
    "with",
    "panel",
    "panels",
    "two",
    *SIZES,
    *palette.COLOURS,
    *palette.SHAPES,
    *ORIENTATIONS,
    *ROWS,
    *COLUMNS,
    *RELATIONS,
    *palette.BACKGROUNDS,
    *palette.PANELS,
    *GAPS,
    # the largest id: CLIP's text tower reads its answer at the argmax of the tokens
    "<end>",
)
IDS: Final = {word: i for i, word in enumerate(WORDS)}
PAD: Final = IDS["<pad>"]
START: Final = IDS["<start>"]
END: Final = IDS["<end>"]
CONTEXT: Final = 28
"""Tokens of the longest caption, with <start> and <end>."""


def encode(text: str) -> list[int]:
    """A caption as `CONTEXT` ids.

    Raises:
        KeyError: a word that is not in the vocabulary.
        ValueError: too many words.
    """
    ids = [START, *(IDS[word] for word in text.split()), END]
    if len(ids) > CONTEXT:
        raise ValueError(f"a caption has at most {CONTEXT - 2} words, this one has {len(ids) - 2}")
    return ids + [PAD] * (CONTEXT - len(ids))


def decode(ids: list[int]) -> str:
    """The words of a caption, without <start>, <end> and <pad>."""
    return " ".join(WORDS[i] for i in ids if i not in (PAD, START, END))
