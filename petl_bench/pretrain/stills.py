"""Random stills for pretraining: the same world as the clips, without any class of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch

from petl_bench.pretrain.vocabulary import ATTRIBUTES, TELLING, Attribute
from petl_bench.synth import palette
from petl_bench.synth.renderer import render
from petl_bench.synth.scene import Scene, colours, covering_panel, curtain_panels, direction

TURN: Final = 2 * torch.pi


@dataclass(frozen=True)
class Stills:
    """N stills and the names that a caption may use. Objects are in the order of painting."""

    scene: Scene
    colour_name: torch.Tensor  # (N, 2) index into palette.COLOURS
    background_name: torch.Tensor  # (N,) index into palette.BACKGROUNDS
    panel_name: torch.Tensor  # (N,) index into palette.PANELS
    panels: torch.Tensor  # (N,) number of panels: 0, 1 or 2
    gap: torch.Tensor  # (N,) between two panels, half frames

    @property
    def view_centre(self) -> torch.Tensor:
        """Centres of the objects as seen through the camera: (N, 2, 2)."""
        return (self.scene.centre - self.scene.shift[:, None]) * self.scene.zoom[:, None]

    @property
    def view_radius(self) -> torch.Tensor:
        """Radii of the objects as seen through the camera: (N, 2)."""
        return self.scene.radius * self.scene.zoom.mean(-1, keepdim=True)

    @property
    def larger(self) -> torch.Tensor:
        """Index of the larger object: (N,)."""
        return self.scene.radius.argmax(1)


def sample_stills(
    generator: torch.Generator, count: int, *, group: int = 1, shared: Mapping[Attribute, float] | None = None
) -> Stills:
    """Draw stills on the generator's device.

    Args:
        generator: decides everything.
        count: N.
        group: stills of a group are alike (hard negatives): they share some of `ATTRIBUTES`.
        shared: one of `ATTRIBUTES` -> chance that a group shares it; others are never shared. Each group
            differs in one of `TELLING` at least.
    """
    device = generator.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, device=device)

    def choice(n: int, *shape: int) -> torch.Tensor:
        return torch.randint(n, (count, *shape), generator=generator, device=device)

    row = torch.arange(count, device=device)
    leader = row - row % group
    chance_of = shared or {}
    chances = [uniform(0, 1) < chance_of.get(attribute, 0.0) for attribute in ATTRIBUTES]
    alike = torch.stack(chances, 1)
    alike = alike.scatter(1, choice(len(TELLING), 1), False)[leader]

    def common(attribute: str, value: torch.Tensor) -> torch.Tensor:
        """Per still, or from the first still of its group where the group shares the attribute."""
        return value[torch.where(alike[:, ATTRIBUTES.index(attribute)], leader, row)]

    background = common("background", choice(len(palette.BACKGROUNDS)))
    ground = colours("backgrounds", device)[background]
    ends = torch.stack([ground, ground + uniform(-0.12, 0.12, 1)], 1) + uniform(-0.04, 0.04, 2, 3)
    waves = torch.cat([uniform(-8, 8, 3, 2), uniform(0, TURN, 3, 1), uniform(0.0, 0.035, 3, 1)], -1)
    name = common("colours", choice(len(palette.COLOURS), 2))
    jitter = uniform(-palette.COLOUR_JITTER, palette.COLOUR_JITTER, 2, 3)

    large = uniform(0.20, 0.52)
    small = (large * uniform(0.45, 0.92)).clamp(min=0.13)
    first_is_large = (choice(2) == 1)[:, None]
    radius = torch.where(first_is_large, torch.stack([large, small], 1), torch.stack([small, large], 1))
    radius = common("sizes", radius)
    first = uniform(-0.85, 0.85, 2)
    spots = uniform(-0.85, 0.85, 4, 2)
    # mostly apart, at times close: one to four candidates, the farthest is taken
    allowed = torch.arange(4, device=device) <= choice(4)[:, None]
    away = torch.where(allowed, (spots - first[:, None]).norm(dim=-1), -1.0).argmax(1)
    centre = common("places", torch.stack([first, spots[row, away]], 1))
    opacity = torch.where(uniform(0, 1, 2) < 0.1, uniform(0.1, 0.9, 2), 1.0)

    chance = common("panels", uniform(0, 1))
    panels = (chance < 0.4).long() + (chance < 0.2).long()
    target = choice(2)
    at, size = centre[row, target], radius[row, target]
    axis, gap = uniform(0, TURN), uniform(0.0, 0.8)
    half = uniform(1.2, 1.45, 2) * size[:, None]
    square = half.mean(1, keepdim=True).repeat(1, 2).clamp(min=0.42)
    one, two = (panels == 1)[:, None], (panels == 2)[:, None]
    slid = covering_panel(at, axis, uniform(0, 1.1) * (half[:, 0] + 1.2 * size))
    drawn = curtain_panels(at, axis, square[:, 0], gap)
    stretch = uniform(0.95, 1.05, 1)
    panel = choice(len(palette.PANELS))
    scene = Scene(
        ground=ends.clamp(0, 1),
        gradient=direction(uniform(0, TURN)),
        waves=waves,
        shape=common("shapes", choice(len(palette.SHAPES), 2)),
        colour=(colours("objects", device)[name] + jitter).clamp(0, 1),
        centre=centre,
        radius=radius,
        angle=common("angles", uniform(0, TURN, 2)),
        opacity=opacity,
        panel_centre=torch.where(two[..., None], drawn, slid),
        panel_half=torch.where(two, square, half)[:, None].repeat(1, 2, 1),
        panel_angle=axis[:, None].repeat(1, 2),
        panel_colour=(colours("panels", device)[panel] + uniform(-0.05, 0.05, 3)).clamp(0, 1),
        panel_opacity=torch.cat([one | two, two], 1).float(),
        # the crop: what the camera looks at, how close, and how far the square is stretched
        shift=uniform(-0.08, 0.08, 2),
        zoom=uniform(0.95, 1.15, 1) * torch.cat([stretch, 1 / stretch], 1),
        softness=uniform(1.0, 1.8),
    )
    return Stills(scene, name, background, panel, panels, gap)


def draw_stills(stills: Stills, size: int, generator: torch.Generator) -> torch.Tensor:
    """Pixels of stills, with the slight noise of a video codec: float32 (N, 3, size, size) in [0, 1]."""
    image = render(stills.scene, size)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    return (image + 0.01 * noise).clamp(0, 1)


def visible_share(stills: Stills) -> torch.Tensor:
    """Share of nine points of each object that no panel hides: (N, 2)."""
    scene = stills.scene
    step = 0.55 * torch.arange(-1, 2, device=scene.radius.device)
    points = torch.stack(torch.meshgrid(step, step, indexing="ij"), -1).reshape(9, 2)
    where = scene.centre[:, :, None] + scene.radius[:, :, None, None] * points  # (N, 2 objects, 9, 2)
    offset = where[:, :, None] - scene.panel_centre[:, None, :, None]  # (N, objects, panels, 9, 2)
    cos, sin = torch.cos(scene.panel_angle), torch.sin(scene.panel_angle)
    x = offset[..., 0] * cos[:, None, :, None] + offset[..., 1] * sin[:, None, :, None]
    y = offset[..., 1] * cos[:, None, :, None] - offset[..., 0] * sin[:, None, :, None]
    half = scene.panel_half[:, None, :, None]
    inside = (x.abs() < half[..., 0]) & (y.abs() < half[..., 1])
    hidden = (inside & (scene.panel_opacity[:, None, :, None] > 0)).any(2)
    return 1 - hidden.float().mean(-1)
