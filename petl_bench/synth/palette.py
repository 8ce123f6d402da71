"""Names and colours of the rendered world. Free of torch: names are needed where nothing is drawn."""

from __future__ import annotations

from typing import Final

RGB = tuple[float, float, float]

SHAPES: Final = ("circle", "square", "triangle", "star", "ring", "cross", "diamond", "heart")

COLOURS: Final[dict[str, RGB]] = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.95, 0.50, 0.08),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.15, 0.65, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.15, 0.25, 0.85),
    "purple": (0.50, 0.15, 0.70),
    "pink": (0.98, 0.55, 0.75),
}

# muted, so that every object colour stands out on every background
BACKGROUNDS: Final[dict[str, RGB]] = {
    "white": (0.92, 0.92, 0.92),
    "gray": (0.55, 0.55, 0.55),
    "black": (0.10, 0.10, 0.10),
    "beige": (0.80, 0.72, 0.58),
    "olive": (0.38, 0.40, 0.25),
    "navy": (0.08, 0.12, 0.28),
}

PANELS: Final[dict[str, RGB]] = {
    "silver": (0.75, 0.77, 0.80),
    "slate": (0.33, 0.38, 0.45),
    "tan": (0.72, 0.55, 0.35),
    "brown": (0.45, 0.28, 0.16),
}

COLOUR_JITTER: Final = 0.07
"""Largest change of a channel of an object's colour, in units of full brightness."""
