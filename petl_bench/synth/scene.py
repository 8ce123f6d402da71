"""What is drawn: a batch of frames as tensors. Nothing here knows of classes, motions or captions.

Coordinates: the frame is [-1, 1] in both axes, x to the right, y up; lengths are in half frames, angles in
radians, counterclockwise. `N` is the number of frames.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch

from petl_bench.synth import palette


@dataclass(frozen=True)
class Scene:
    """A batch of N frames. Each has two objects and up to two panels, painted in this order."""

    ground: torch.Tensor  # (N, 2, 3) colours at the two ends of the background's gradient
    gradient: torch.Tensor  # (N, 2) unit vector from the first end to the second
    waves: torch.Tensor  # (N, 3, 4) texture: x and y radians per half frame, phase, amplitude
    shape: torch.Tensor  # (N, 2) index into palette.SHAPES
    colour: torch.Tensor  # (N, 2, 3)
    centre: torch.Tensor  # (N, 2, 2)
    radius: torch.Tensor  # (N, 2)
    angle: torch.Tensor  # (N, 2)
    opacity: torch.Tensor  # (N, 2)
    panel_centre: torch.Tensor  # (N, 2, 2)
    panel_half: torch.Tensor  # (N, 2, 2) half width along the panel's own x axis, half height
    panel_angle: torch.Tensor  # (N, 2)
    panel_colour: torch.Tensor  # (N, 3)
    panel_opacity: torch.Tensor  # (N, 2) 0 where there is no panel
    shift: torch.Tensor  # (N, 2) the point the camera looks at
    zoom: torch.Tensor  # (N, 2) magnification in x and y
    softness: torch.Tensor  # (N,) width of an edge, pixels

    def __len__(self) -> int:
        return self.shape.shape[0]

    def changed(self, **fields: torch.Tensor) -> Scene:
        """The same scene with some fields replaced."""
        return dataclasses.replace(self, **fields)

    def part(self, start: int, end: int) -> Scene:
        """The frames from `start` up to `end`."""
        return Scene(**{f.name: getattr(self, f.name)[start:end] for f in dataclasses.fields(self)})

    def repeated(self, times: int) -> Scene:
        """Every frame `times` times in a row: (N, ...) -> (N * times, ...)."""
        fields = {f.name: getattr(self, f.name).repeat_interleave(times, 0) for f in dataclasses.fields(self)}
        return Scene(**fields)


@functools.lru_cache(maxsize=32)
def colours(kind: str, device: torch.device) -> torch.Tensor:
    """RGB of "objects", "backgrounds" or "panels" as (names, 3) on a device."""
    tables = {"objects": palette.COLOURS, "backgrounds": palette.BACKGROUNDS, "panels": palette.PANELS}
    return torch.tensor(list(tables[kind].values()), dtype=torch.float32, device=device)


def direction(angle: torch.Tensor) -> torch.Tensor:
    """Unit vectors of angles: (...,) -> (..., 2)."""
    return torch.stack([torch.cos(angle), torch.sin(angle)], -1)


def covering_panel(centre: torch.Tensor, axis: torch.Tensor, away: torch.Tensor) -> torch.Tensor:
    """Centres of a panel (and of an absent second one) that has slid `away` from `centre` along `axis`.

    Args:
        centre: (..., 2).
        axis: (...,) angle.
        away: (...,) distance.

    Returns:
        (..., 2 panels, 2).
    """
    at = centre + away[..., None] * direction(axis)
    return torch.stack([at, at], -2)


def curtain_panels(
    centre: torch.Tensor, axis: torch.Tensor, half_width: torch.Tensor, gap: torch.Tensor
) -> torch.Tensor:
    """Centres of two panels that stand `gap` apart from `centre` on either side: (..., 2 panels, 2)."""
    offset = (half_width + gap)[..., None] * direction(axis)
    return torch.stack([centre - offset, centre + offset], -2)
