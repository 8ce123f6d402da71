"""Captions of stills as tokens, written with tensors only: no loop over stills, no wait for the device.

A caption is five phrases in one of four orders: the two objects, the relation of the first to the second, the
background and the panels. A word that is left out is the pad token until the words are moved together.
"""

from __future__ import annotations

import functools
from typing import Final

import torch

from petl_bench.pretrain.stills import Stills, visible_share
from petl_bench.pretrain.vocabulary import (
    COLUMNS,
    CONTEXT,
    END,
    GAPS,
    IDS,
    ORIENTATIONS,
    PAD,
    RELATIONS,
    ROWS,
    SIZES,
    START,
)
from petl_bench.synth import palette

SIZE_LIMITS: Final = (0.19, 0.26, 0.34, 0.42)
"""Radii in half frames between two words of `SIZES`."""
NEAR: Final = 0.75
"""Distance of two centres, half frames, below which they are near."""
GAP_LIMITS: Final = (0.1, 0.4)
THIRD: Final = 1 / 3

_PHRASES: Final = 5
_ORDERS: Final = (
    # indices of: first object, relation, second object, background, panels
    (0, 1, 2, 3, 4),
    (3, 0, 1, 2, 4),
    (4, 0, 1, 2, 3),
    (0, 1, 2, 4, 3),
)


@functools.lru_cache(maxsize=64)
def _ids(words: tuple[str, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor([IDS[word] for word in words], device=device)


@functools.lru_cache(maxsize=4)
def _orders(device: torch.device) -> torch.Tensor:
    return torch.tensor(_ORDERS, device=device)


def _bin(value: torch.Tensor, limits: tuple[float, ...]) -> torch.Tensor:
    """How many of the limits each value exceeds."""
    out = torch.zeros(value.shape, dtype=torch.long, device=value.device)
    for limit in limits:
        out = out + (value > limit).long()
    return out


def cell(stills: Stills) -> torch.Tensor:
    """Row (0 is the top) and column of each object in a 3 x 3 grid: (N, 2 objects, 2)."""
    column = _bin(stills.view_centre[..., 0], (-THIRD, THIRD))
    row = 2 - _bin(stills.view_centre[..., 1], (-THIRD, THIRD))
    return torch.stack([row, column], -1)


def orientation(stills: Stills) -> torch.Tensor:
    """Which of `ORIENTATIONS` each object has: (N, 2)."""
    # the mark of an object at angle 0 points up; angles run counterclockwise, so a quarter turn is left
    return torch.round(stills.scene.angle / (torch.pi / 2)).long() % 4


def relation(stills: Stills) -> torch.Tensor:
    """Which of `RELATIONS` object 0 has to object 1: (N,)."""
    way = stills.view_centre[:, 0] - stills.view_centre[:, 1]
    return torch.round(torch.atan2(way[:, 1], way[:, 0]) / (torch.pi / 2)).long() % 4


def caption_tokens(
    stills: Stills, generator: torch.Generator, *, keep: float = 0.8, single: float = 0.0
) -> torch.Tensor:
    """Captions with words left out at random.

    Args:
        stills: N stills.
        generator: decides the templates and the words that are left out; on the device of the stills.
        keep: chance that an attribute is named.
        single: share of the captions that tell of one of the two objects only.

    Returns:
        int64 (N, CONTEXT): <start>, words, <end>, <pad>...
    """
    device = generator.device
    N = len(stills.scene)

    def word(*words: str) -> torch.Tensor:
        return _ids(words, device)

    def said(*shape: int) -> torch.Tensor:
        return torch.rand(N, *shape, generator=generator, device=device) < keep

    # --- the objects, (N, 2) in the order of painting ---
    hidden = (visible_share(stills) < 0.35) | (stills.scene.opacity < 0.15)
    faint = stills.scene.opacity < 0.6
    order = torch.arange(2, device=device)
    relative = word("smaller", "larger")[(order == stills.larger[:, None]).long()]
    absolute = word(*SIZES)[_bin(stills.view_radius, SIZE_LIMITS)]
    size = torch.where(torch.rand(N, 2, generator=generator, device=device) < 0.5, relative, absolute)
    state = torch.where(hidden, word("hidden"), torch.where(faint, word("faint"), PAD))
    place = cell(stills)
    columns = [
        torch.where(said(2), word("a"), PAD),
        state,
        torch.where(said(2) & ~hidden, size, PAD),
        torch.where(said(2) & ~hidden, word(*palette.COLOURS)[stills.colour_name], PAD),
        torch.where(said(2) & ~hidden, word(*palette.SHAPES)[stills.scene.shape], word("thing")),
        torch.where(said(2) & ~hidden, word(*ORIENTATIONS)[orientation(stills)], PAD),
    ]
    placed = said(2)
    columns += [
        torch.where(placed, word(*ROWS)[place[..., 0]], PAD),
        torch.where(placed, word(*COLUMNS)[place[..., 1]], PAD),
    ]
    objects = torch.stack(columns, -1)  # (N, 2, 8)
    width = objects.shape[-1]

    # --- which object comes first, and its relation to the second ---
    swap = torch.rand(N, generator=generator, device=device) < 0.5
    objects = torch.where(swap[:, None, None], objects.flip(1), objects)
    toward = word(*RELATIONS)[(relation(stills) + 2 * swap.long()) % 4]
    distance = (stills.view_centre[:, 0] - stills.view_centre[:, 1]).norm(dim=-1)
    nearness = torch.where(distance < NEAR, word("near"), word("far-from"))
    related, measured = said(), said()
    blank = torch.full((N,), PAD, device=device)
    link = torch.where(related | measured, PAD, word("and"))
    between = [link, torch.where(measured, nearness, PAD), torch.where(related, toward, PAD)]

    # --- what stands behind and in front ---
    named = said()
    ground = [
        torch.where(named, word("on"), PAD),
        torch.where(named, word(*palette.BACKGROUNDS)[stills.background_name], PAD),
        torch.where(named, word("background"), PAD),
    ]
    some, two = (stills.panels > 0) & said(), stills.panels == 2
    front = [
        torch.where(some, word("with"), PAD),
        torch.where(some, torch.where(two, word("two"), word("a")), PAD),
        torch.where(some & said(), word(*palette.PANELS)[stills.panel_name], PAD),
        torch.where(some, torch.where(two, word("panels"), word("panel")), PAD),
        torch.where(some & two & said(), word(*GAPS)[_bin(stills.gap, GAP_LIMITS)], PAD),
    ]

    def phrase(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(parts + [blank] * (width - len(parts)), -1)

    # some captions tell of one object alone: its place and shape are then learned before any relation is
    alone = (torch.rand(N, generator=generator, device=device) < single)[:, None]
    second = torch.where(alone, PAD, objects[:, 1])
    relating = torch.where(alone, PAD, phrase(between))
    phrases = torch.stack([objects[:, 0], relating, second, phrase(ground), phrase(front)], 1)
    template = torch.randint(len(_ORDERS), (N,), generator=generator, device=device)
    ordered = phrases.gather(1, _orders(device)[template][..., None].expand(N, _PHRASES, width))
    return _closed_up(ordered.flatten(1))


def _closed_up(words: torch.Tensor) -> torch.Tensor:
    """Words with gaps (pads) between them as captions: (N, L) -> (N, CONTEXT)."""
    N = words.shape[0]
    start = words.new_full((N, 1), START)
    order = (words == PAD).to(torch.uint8).argsort(dim=1, stable=True)
    packed = torch.cat([start, words.gather(1, order), words.new_full((N, 1), PAD)], 1)
    end = (packed != PAD).sum(1, keepdim=True)
    return packed.scatter(1, end, END)[:, :CONTEXT]
