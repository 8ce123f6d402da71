"""Captions tell the truth about stills, and stills differ in what frames of clips differ in."""

from __future__ import annotations

import math

import pytest
import torch
from told_stills import some_stills, true_words

from petl_bench.pretrain import captions
from petl_bench.pretrain.captions import caption_tokens
from petl_bench.pretrain.stills import (
    draw_stills,
    visible_share,
)
from petl_bench.pretrain.vocabulary import (
    ATTRIBUTES,
    CONTEXT,
    END,
    GAPS,
    PAD,
    RELATIONS,
    START,
    TELLING,
    WORDS,
    decode,
    encode,
)
from petl_bench.synth import palette


def is_described_by(words: list[str], truth: dict[str, str]) -> bool:
    return all(word in truth.values() or word in ("a", "thing", "faint", "hidden") for word in words)


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_captions_tell_the_truth(keep: float) -> None:
    stills, generator = some_stills()
    tokens = caption_tokens(stills, generator, keep=keep)
    hidden = visible_share(stills) < 0.35
    for i, row in enumerate(tokens.tolist()):
        words = decode(row).split()
        # take the background and the panels out: what remains is object, relation, object
        if "background" in words:
            at = words.index("background")
            assert words[at - 2] == "on"
            assert words[at - 1] == list(palette.BACKGROUNDS)[int(stills.background_name[i])]
            del words[at - 2 : at + 1]
        for noun, count in (("panel", 1), ("panels", 2)):
            if noun not in words:
                continue
            assert stills.panels[i] == count
            start = words.index("with")
            end = words.index(noun) + 1
            assert words[start + 1] == ("two" if count == 2 else "a")
            named = words[start + 2 : end - 1]
            assert named in ([], [list(palette.PANELS)[int(stills.panel_name[i])]])
            if end < len(words) and words[end] in GAPS:
                gap = stills.gap[i].item()
                assert words[end] == ("closed" if gap <= 0.1 else "ajar" if gap <= 0.4 else "open")
                end += 1
            del words[start:end]
        links = [j for j, word in enumerate(words) if word in ("and", "near", "far-from", *RELATIONS)]
        assert links
        assert links == list(range(links[0], links[-1] + 1))
        first, link, second = words[: links[0]], words[links[0] : links[-1] + 1], words[links[-1] + 1 :]
        truths = [true_words(stills, i, k) for k in (0, 1)]
        straight = is_described_by(first, truths[0]) and is_described_by(second, truths[1])
        crossed = is_described_by(first, truths[1]) and is_described_by(second, truths[0])
        assert straight or crossed, (first, second, truths)
        for said in link:
            way = stills.view_centre[i, 0] - stills.view_centre[i, 1]
            dx, dy = way.tolist()
            if said in ("near", "far-from"):
                assert (said == "near") == (math.hypot(dx, dy) < captions.NEAR)
            elif said != "and" and straight != crossed:
                dx, dy = (dx, dy) if straight else (-dx, -dy)
                if abs(dx) > abs(dy):
                    assert said == ("right-of" if dx > 0 else "left-of")
                else:
                    assert said == ("above" if dy > 0 else "below")
        for part, k in ((first, 0), (second, 1)) if straight else ((first, 1), (second, 0)):
            if straight != crossed and hidden[i, k]:
                assert "hidden" in part
                assert not {*palette.COLOURS, *palette.SHAPES} & set(part)
            if keep == 1.0 and "hidden" not in part:
                assert len(part) - ("faint" in part) == 7


def test_captions_are_well_formed_and_vary() -> None:
    stills, generator = some_stills(2000)
    for keep in (1.0, 0.8, 0.01):
        tokens = caption_tokens(stills, generator, keep=keep)
        assert tokens.shape == (2000, CONTEXT)
        assert torch.all(tokens[:, 0] == START)
        end = tokens.argmax(1)  # where CLIP's text tower reads: <end> is the largest id
        assert torch.all(tokens[torch.arange(2000), end] == END)
        assert torch.all((tokens == END).sum(1) == 1)
        place = torch.arange(CONTEXT)
        assert torch.equal(tokens == PAD, place > end[:, None])
    assert len(WORDS) == len(set(WORDS)) == END + 1
    again, _ = some_stills(2000)
    other = caption_tokens(again, torch.Generator().manual_seed(9))
    assert (other != tokens).any(1).float().mean() > 0.99


def test_every_word_is_used() -> None:
    stills, generator = some_stills(8000)
    used = set(caption_tokens(stills, generator).unique().tolist())
    assert used == set(range(len(WORDS)))


def test_encode_is_the_inverse_of_decode() -> None:
    text = "a larger red star upright top left near above a tiny blue ring"
    assert decode(encode(text)) == text
    with pytest.raises(KeyError):
        encode("a larger mauve star")
    with pytest.raises(ValueError, match="at most"):
        encode("a " * CONTEXT)


def test_stills_of_a_group_are_alike_but_not_the_same() -> None:
    groups = 400
    stills, _ = some_stills(groups * 8, group=8, shared=dict.fromkeys(ATTRIBUTES, 0.5))
    scene = stills.scene
    values = {
        "shapes": scene.shape,
        "places": scene.centre.flatten(1),
        "angles": scene.angle,
        "background": stills.background_name[:, None],
        "colours": stills.colour_name,
        "sizes": scene.radius,
        "panels": stills.panels[:, None],
    }
    assert set(values) == set(ATTRIBUTES)
    same = {}
    for name, value in values.items():
        grouped = value.reshape(groups, 8, -1)
        same[name] = (grouped == grouped[:, :1]).all(2).all(1)
    for name in ("background", "colours", "sizes"):
        assert same[name].float().mean() == pytest.approx(0.5, abs=0.1)
    for name in TELLING:  # left free in a third of the groups besides
        assert same[name].float().mean() == pytest.approx(1 / 3, abs=0.1)
    assert not torch.stack([same[name] for name in TELLING]).all(0).any()

    stills, _ = some_stills(groups * 8, group=8, shared={"colours": 1.0})
    assert torch.equal(stills.colour_name[::8], stills.colour_name[1::8])
    assert (stills.background_name[::8] == stills.background_name[1::8]).float().mean() < 0.3


def test_some_captions_tell_of_one_object() -> None:
    stills, generator = some_stills(3000)
    tokens = caption_tokens(stills, generator, keep=1.0, single=0.3)
    shapes = sum((tokens == encode(name)[1]).sum(1) for name in (*palette.SHAPES, "thing"))
    assert isinstance(shapes, torch.Tensor)
    assert set(shapes.tolist()) == {1, 2}
    assert (shapes == 1).float().mean() == pytest.approx(0.3, abs=0.03)
    links = sum((tokens == encode(name)[1]).sum(1) for name in RELATIONS)
    assert torch.equal(links, shapes - 1)


def test_stills_differ_in_what_frames_differ_in() -> None:
    stills, generator = some_stills(4000)
    assert [(stills.panels == n).float().mean().item() for n in range(3)] == pytest.approx(
        [0.6, 0.2, 0.2], abs=0.03
    )
    assert 0.05 < (stills.scene.opacity < 1).float().mean() < 0.3
    beyond = stills.view_centre.abs().amax(-1) + stills.view_radius > 1
    assert 0.2 < beyond.float().mean() < 0.8
    assert stills.view_radius.min() < 0.15
    assert stills.view_radius.max() > 0.5
    image = draw_stills(stills, 12, generator)
    assert image.shape == (4000, 3, 12, 12)
    assert 0 <= image.min() <= image.max() <= 1
