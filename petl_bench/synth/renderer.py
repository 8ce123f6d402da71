"""Draws scenes: a batch of frames at once, on any device, without a loop over frames."""

from __future__ import annotations

import functools
from typing import Final

import torch
import torch.nn.functional as F

from petl_bench.synth import shapes
from petl_bench.synth.scene import Scene

RENDERER_VERSION: Final = 1
"""Changes whenever pixels change; part of the identity of rendered data."""

_STRIPES: Final = 7.0
"""Stripes of a panel, in waves per frame."""

# Frames that a CPU draws at once: their intermediate images fit into its cache (measured: a third faster).
_CPU_PIXELS: Final = 48 * 1024


@functools.lru_cache(maxsize=16)
def _pixels(size: int, device: torch.device) -> torch.Tensor:
    """Centres of the pixels, row by row from the top, as homogeneous (3, size * size)."""
    axis = (torch.arange(size, dtype=torch.float32) * 2 + 1) / size - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.ones(size * size)]).to(device)


def _to_local(scene: Scene, centre: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Maps from the frame to the frames of two things: (N, 2 things, 2, 3), lengths as in the scene."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)  # by -angle
    offset = (scene.shift[:, None] - centre)[..., None]
    return torch.cat([turn / scene.zoom[:, None, None], turn @ offset], -1)


def _coverage(distance: torch.Tensor, pixels_per_unit: torch.Tensor, softness: torch.Tensor) -> torch.Tensor:
    """How much of a pixel lies inside, from the signed distance of its centre: (N, P) in [0, 1]."""
    return (0.5 - distance * (pixels_per_unit / softness)[:, None]).clamp(0, 1)


def _background(scene: Scene, pixels: torch.Tensor) -> torch.Tensor:
    """A gradient with low waves of brightness: (N, 3, P)."""
    # the camera's shift moves the ground, too
    world = pixels[:2] / scene.zoom[..., None] + scene.shift[..., None]  # (N, 2, P)
    along = (scene.gradient[:, None] @ world * 0.35 + 0.5).clamp(0, 1)  # (N, 1, P)
    image = torch.lerp(scene.ground[:, 0, :, None], scene.ground[:, 1, :, None], along)
    waves = torch.sin(scene.waves[..., :2] @ world + scene.waves[..., 2:3])  # (N, 3, P)
    return image + scene.waves[..., 3][:, None] @ waves


def render(scene: Scene, size: int) -> torch.Tensor:
    """Draw every frame of a scene.

    Args:
        scene: N frames.
        size: height and width, pixels.

    Returns:
        float32 (N, 3, size, size) RGB in [0, 1] on the scene's device. Edges are smooth: `scene.softness`
        pixels wide.
    """
    if scene.radius.device.type == "cpu":
        strip = max(1, _CPU_PIXELS // size**2)
        parts = [_render(scene.part(i, i + strip), size) for i in range(0, len(scene), strip)]
        return torch.cat(parts)
    return _render(scene, size)


def _render(scene: Scene, size: int) -> torch.Tensor:
    N = len(scene)
    pixels = _pixels(size, scene.radius.device)
    scale = scene.zoom.mean(-1) * (size / 2)  # pixels per half frame, (N,)
    image = _background(scene, pixels)

    local = _to_local(scene, scene.centre, scene.angle) / (scene.radius * shapes.EXTENT)[..., None, None]
    grid = (local.reshape(2 * N, 2, 3) @ pixels).transpose(1, 2).unsqueeze(1)  # (2 N, 1, P, 2)
    tables = shapes.table(scene.radius.device)[scene.shape.reshape(-1)]
    distance = F.grid_sample(tables, grid, padding_mode="border", align_corners=True).reshape(N, 2, 2, -1)
    # a light mark on dark colours, a dark one on light colours
    mark_colour = (scene.colour.mean(-1, keepdim=True) < 0.6).to(image.dtype) * 0.86 + 0.08
    for k in range(2):
        per_unit = scale * scene.radius[:, k]
        body = _coverage(distance[:, k, 0], per_unit, scene.softness)
        mark = _coverage(distance[:, k, 1], per_unit, scene.softness)
        paint = torch.lerp(scene.colour[:, k, :, None], mark_colour[:, k, :, None], mark[:, None])
        image = torch.lerp(image, paint, (body * scene.opacity[:, k, None])[:, None])

    local = _to_local(scene, scene.panel_centre, scene.panel_angle)
    where = (local.reshape(2 * N, 2, 3) @ pixels).reshape(N, 2, 2, -1)
    for k in range(2):
        distance_k = (where[:, k].abs() - scene.panel_half[:, k, :, None]).amax(1)  # (N, P)
        cover = _coverage(distance_k, scale, scene.softness) * scene.panel_opacity[:, k, None]
        stripes = 0.94 + 0.12 * torch.cos(where[:, k, 0] * (torch.pi * _STRIPES))
        shade = stripes * (1 - 0.55 * _coverage(-distance_k - 0.05, scale, scene.softness))  # a dark rim
        image = torch.lerp(image, scene.panel_colour[..., None] * shade[:, None], cover[:, None])
    return image.clamp(0, 1).reshape(N, 3, size, size)
