"""Clips: what is drawn at random, and how the forward motion of each pair changes a scene over time.

By construction the direction of time is all that tells twins apart:
- `draw` knows neither class nor direction; the same generator state gives the same draws for every class;
- `forward` renders the forward motion of a pair; the twin is its frames in reverse order, so both classes
  have the same distribution of sets of frames;
- timing (delay, easing) and every motion besides the class's own are distributed symmetrically under
  reversal, so the way things speed up or wobble does not give the direction away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from petl_bench.synth import palette
from petl_bench.synth.scene import Scene, colours, covering_panel, curtain_panels, direction

PAIRS: Final = ("right", "up", "closer", "together", "cover", "clockwise", "into view", "opening")
"""Forward motion of each pair, in the order of `classes.MOTIONS`."""

TURN: Final = 2 * torch.pi


@dataclass(frozen=True)
class Draws:
    """Everything random about B clips of T frames. Object 1 is the actor and is painted over object 0."""

    base: Scene  # B frames: the scene without motion
    jitter: torch.Tensor  # (B, 2, 3) part of the objects' colours that is not in their names
    place: torch.Tensor  # (B, 2) middle of the actor's path
    axis: torch.Tensor  # (B,) direction of motions that have no direction of their own, uniform
    slope: torch.Tensor  # (B,) tilt of a path, symmetric about 0
    extent: torch.Tensor  # (B,) in [0, 1], size of the motion within its range
    delay: torch.Tensor  # (B, 2) rest at the start and at the end, shares of the clip
    easing: torch.Tensor  # (B, 2) exponents of speeding up and of slowing down, exchangeable
    drift: torch.Tensor  # (B, 2) way of the other object over the clip, direction uniform
    wobble: torch.Tensor  # (B, 3) turning of the other object: amplitude, frequency, phase
    shake: torch.Tensor  # (B, T, 2) camera, independent from frame to frame


def draw(generator: torch.Generator, clips: int, length: int) -> Draws:
    """Draw the nuisances of clips.

    Args:
        generator: a CPU generator; its state alone decides the draws.
        clips: B.
        length: T, frames.
    """

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(clips, *shape, generator=generator)

    def choice(n: int, *shape: int) -> torch.Tensor:
        return torch.randint(n, (clips, *shape), generator=generator)

    device = torch.device("cpu")
    ground = colours("backgrounds", device)[choice(len(palette.BACKGROUNDS))]
    ends = torch.stack([ground, ground + uniform(-0.12, 0.12, 1)], 1) + uniform(-0.04, 0.04, 2, 3)
    waves = torch.cat([uniform(-8, 8, 3, 2), uniform(0, TURN, 3, 1), uniform(0.0, 0.035, 3, 1)], -1)
    colour = colours("objects", device)[choice(len(palette.COLOURS), 2)]
    jitter = uniform(-palette.COLOUR_JITTER, palette.COLOUR_JITTER, 2, 3)
    large = uniform(0.30, 0.42)
    small = large * uniform(0.5, 0.7)
    actor_is_large = choice(2) == 1
    place = uniform(-0.28, 0.28, 2)
    spots = uniform(-0.72, 0.72, 6, 2)
    # the other object stands at the one of six places that is farthest from the actor
    farthest = (spots - place[:, None]).norm(dim=-1).argmax(1)
    other = spots[torch.arange(clips), farthest]
    panel_colour = colours("panels", device)[choice(len(palette.PANELS))]
    base = Scene(
        ground=ends.clamp(0, 1),
        gradient=direction(uniform(0, TURN)),
        waves=waves,
        shape=choice(len(palette.SHAPES), 2),
        colour=(colour + jitter).clamp(0, 1),
        centre=torch.stack([other, place], 1),
        radius=torch.stack(
            [torch.where(actor_is_large, small, large), torch.where(actor_is_large, large, small)], 1
        ),
        angle=uniform(0, TURN, 2),
        opacity=torch.ones(clips, 2),
        panel_centre=torch.zeros(clips, 2, 2),
        panel_half=uniform(1.2, 1.45, 2, 2),
        panel_angle=torch.zeros(clips, 2),
        panel_colour=(panel_colour + uniform(-0.05, 0.05, 3)).clamp(0, 1),
        panel_opacity=torch.zeros(clips, 2),
        shift=torch.zeros(clips, 2),
        zoom=torch.ones(clips, 2),
        softness=torch.full((clips,), 1.2),
    )
    return Draws(
        base=base,
        jitter=jitter,
        place=place,
        axis=uniform(0, TURN),
        slope=uniform(-0.25, 0.25),
        extent=uniform(0, 1),
        delay=uniform(0, 0.18, 2),
        easing=uniform(1.0, 2.2, 2),
        drift=direction(uniform(0, TURN)) * uniform(0, 0.16, 1),
        wobble=torch.stack([uniform(0, 0.3), uniform(0.5, 1.5), uniform(0, TURN)], -1),
        shake=0.008 * torch.randn(clips, length, 2, generator=generator),
    )


def progress(draws: Draws, length: int) -> torch.Tensor:
    """Share of the motion done at each frame: (B, T), from 0 to 1, never falling.

    Reversing time and swapping start and end, `1 - progress.flip(1)`, equals the progress of the draws
    with both delays and both exponents swapped, and those are equally likely.
    """
    t = torch.linspace(0, 1, length)
    start, end = draws.delay[:, :1], draws.delay[:, 1:]
    x = ((t - start) / (1 - start - end)).clamp(0, 1)
    rise = x ** draws.easing[:, :1]
    fall = (1 - x) ** draws.easing[:, 1:]
    return rise / (rise + fall)


def forward(draws: Draws, pair: int, length: int, *, growth: tuple[float, float] = (2.0, 2.6)) -> Scene:
    """The forward motion of a pair.

    Args:
        draws: of B clips.
        pair: index into `PAIRS`.
        length: T, frames.
        growth: range of the ratio of the last size to the first, for "closer".

    Returns:
        B * T frames, clip by clip.
    """
    base = draws.base
    B, T = len(base), length
    u = progress(draws, T)  # (B, T)
    t = torch.linspace(-0.5, 0.5, T)

    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * draws.extent

    centre = base.centre[:, None].repeat(1, T, 1, 1)  # (B, T, 2 objects, 2)
    centre[:, :, 0] += t[:, None] * draws.drift[:, None]
    radius = base.radius[:, None].repeat(1, T, 1)
    angle = base.angle[:, None].repeat(1, T, 1)
    swing, frequency, phase = (draws.wobble[:, None, k] for k in range(3))
    angle[:, :, 0] += swing * torch.sin(TURN * frequency * t + phase)
    opacity = base.opacity[:, None].repeat(1, T, 1)
    panel_centre = base.panel_centre[:, None].repeat(1, T, 1, 1)
    panel_half = base.panel_half * base.radius[:, 1, None, None]
    panel_opacity = base.panel_opacity
    panel_angle = draws.axis[:, None].repeat(1, 2)
    actor, actor_radius = base.centre[:, 1], base.radius[:, 1]

    motion = PAIRS[pair]
    if motion in ("right", "up"):
        path = direction(draws.slope if motion == "right" else torch.pi / 2 + draws.slope)
        centre[:, :, 1] += ((u - 0.5) * between(0.8, 1.2)[:, None])[..., None] * path[:, None]
    elif motion == "closer":
        radius[:, :, 1] *= between(*growth)[:, None] ** (u - 0.5)
    elif motion == "together":
        near = base.radius.sum(1) * 0.95
        distance = near[:, None] + (1 - u) * between(0.6, 0.9)[:, None]
        offset = distance[..., None] * direction(draws.axis)[:, None] / 2
        middle = draws.place[:, None] * 0.6
        centre = torch.stack([middle - offset, middle + offset], 2)
    elif motion == "cover":
        away = (panel_half[:, 0, 0] + 1.2 * actor_radius) * between(1.0, 1.25)
        panel_centre = covering_panel(
            actor[:, None].expand(B, T, 2), draws.axis[:, None].expand(B, T), (1 - u) * away[:, None]
        )
        panel_opacity = torch.tensor([1.0, 0.0]).expand(B, 2)
    elif motion == "clockwise":
        angle[:, :, 1] -= u * between(2.2, 4.4)[:, None]
    elif motion == "into view":
        opacity[:, :, 1] = u
    else:
        panel_half = panel_half.mean(1, keepdim=True).repeat(1, 2, 1).clamp(min=0.42)
        width = panel_half[:, 0, 0]
        panel_centre = curtain_panels(
            actor[:, None].expand(B, T, 2),
            draws.axis[:, None].expand(B, T),
            width[:, None].expand(B, T),
            u * between(0.55, 0.8)[:, None],
        )
        panel_opacity = torch.ones(B, 2)

    return base.repeated(T).changed(
        centre=centre.flatten(0, 1),
        radius=radius.flatten(0, 1),
        angle=angle.flatten(0, 1),
        opacity=opacity.flatten(0, 1),
        panel_centre=panel_centre.flatten(0, 1),
        panel_half=panel_half.repeat_interleave(T, 0),
        panel_angle=panel_angle.repeat_interleave(T, 0),
        panel_opacity=panel_opacity.repeat_interleave(T, 0),
        shift=draws.shake.flatten(0, 1),
    )
