"""Captions tell the truth, pretraining learns, and a resumed one ends in the same numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from petl_bench.errors import UserError
from petl_bench.pretrain import Progress, captions, evaluate, load_pretrain_config, pretrain
from petl_bench.pretrain.captions import caption_tokens
from petl_bench.pretrain.config import PretrainConfig
from petl_bench.pretrain.model import build_clip, new_clip, parameter_groups, sincos_2d
from petl_bench.pretrain.run import main
from petl_bench.pretrain.stills import (
    Stills,
    draw_stills,
    sample_stills,
    visible_share,
)
from petl_bench.pretrain.train import clip_loss, learning_rate, stream
from petl_bench.pretrain.vocabulary import (
    ATTRIBUTES,
    COLUMNS,
    CONTEXT,
    END,
    GAPS,
    ORIENTATIONS,
    PAD,
    RELATIONS,
    ROWS,
    SIZES,
    START,
    TELLING,
    WORDS,
    Attribute,
    decode,
    encode,
)
from petl_bench.synth import palette
from petl_bench.weights import load_embedded_state, weights_file

TINY: dict[str, Any] = {
    "image": {"width": 32, "layers": 1, "head_width": 16},
    "text": {"width": 32, "layers": 1, "heads": 2},
    "embed_dim": 32,
    "steps": 12,
    "batch_size": 24,
    "warmup_steps": 2,
    "log_every": 4,
    "held_out": 64,
    "retrieval": 32,
    "lr": 3e-3,
}


def some_stills(count: int = 256, seed: int = 0, **options: Any) -> tuple[Stills, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return sample_stills(generator, count, **options), generator


# --- captions ---


def true_words(stills: Stills, i: int, k: int) -> dict[str, str]:
    """Attributes of object `k` of still `i` in words, from plain numbers."""
    scene = stills.scene
    zoom_x, zoom_y = scene.zoom[i].tolist()
    x = (scene.centre[i, k, 0].item() - scene.shift[i, 0].item()) * zoom_x
    y = (scene.centre[i, k, 1].item() - scene.shift[i, 1].item()) * zoom_y
    radius = scene.radius[i, k].item() * (zoom_x + zoom_y) / 2
    quarter = int((math.degrees(scene.angle[i, k].item()) + 45) % 360 // 90)
    bigger = scene.radius[i, k] > scene.radius[i, 1 - k]
    return {
        "size": SIZES[sum(radius > limit for limit in (0.19, 0.26, 0.34, 0.42))],
        "relative": "larger" if bigger else "smaller",
        "colour": list(palette.COLOURS)[int(stills.colour_name[i, k])],
        "shape": palette.SHAPES[int(scene.shape[i, k])],
        "orientation": ORIENTATIONS[quarter],
        "row": "top" if y > 1 / 3 else "bottom" if y < -1 / 3 else "middle",
        "column": "right" if x > 1 / 3 else "left" if x < -1 / 3 else "centre",
    }


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


# --- model, loss, schedule ---


def test_loss_is_the_mean_of_both_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=-1) for _ in range(2))
    total = 0.0
    for i in range(5):
        rows = [math.exp(7 * float(a[i] @ b[j])) for j in range(5)]
        columns = [math.exp(7 * float(a[j] @ b[i])) for j in range(5)]
        total -= math.log(rows[i] / sum(rows)) + math.log(columns[i] / sum(columns))
    assert float(clip_loss(a, b, torch.tensor(7.0))) == pytest.approx(total / 10, rel=1e-5)


def test_positions_start_as_a_grid() -> None:
    grid = sincos_2d(4, 32)
    assert grid.shape == (16, 32)
    for row in range(4):
        for column in range(4):
            expected = [
                wave(place * 10_000 ** (-k / 8))
                for place in (row, column)
                for wave in (math.sin, math.cos)
                for k in range(8)
            ]
            assert grid[row * 4 + column].tolist() == pytest.approx(expected, abs=1e-5)


def test_decay_is_on_matrices_only() -> None:
    config = load_pretrain_config("tiny_clip", TINY)
    model = new_clip(config)
    decayed, free = (set(map(id, g["params"])) for g in parameter_groups(model, 0.1))
    names = {name: id(p) for name, p in model.named_parameters()}
    assert decayed | free == set(names.values())
    assert not decayed & free
    for name in ("positional_embedding", "visual.positional_embedding", "logit_scale", "ln_final.weight"):
        assert names[name] in free
    for name in ("visual.conv1.weight", "visual.proj", "transformer.resblocks.0.mlp.c_fc.weight"):
        assert names[name] in decayed


def test_learning_rate_rises_and_falls() -> None:
    config = load_pretrain_config("tiny_clip", {"steps": 100, "warmup_steps": 10, "lr": 1.0})
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 1e-3


def test_new_models_leave_global_random_state_alone() -> None:
    torch.rand(1)  # away from the state that seeding with the config's seed would leave
    before = torch.get_rng_state()
    first, second = (new_clip(load_pretrain_config("tiny_clip", TINY)).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("patch", [8, 12])
def test_shipped_architecture(patch: int) -> None:
    config = load_pretrain_config("tiny_clip", {"image": {"patch_size": patch}})
    model = new_clip(config)
    tokens = (48 // patch) ** 2 + 1
    width, blocks = 128, 4
    block = 12 * width**2 + 13 * width
    expected = 3 * patch**2 * width + width + tokens * width + blocks * block + 4 * width + width * 128
    assert sum(p.numel() for p in model.visual.parameters()) == expected


# --- evaluation ---


class Oracle(torch.nn.Module):
    """Reads the attributes of the larger object from the stills and from the words instead of seeing them."""

    def __init__(self) -> None:
        super().__init__()
        self.dummy = torch.nn.Parameter(torch.zeros(()))
        self.stills: Stills | None = None

    def remember(self, stills: Stills, size: int, generator: torch.Generator) -> torch.Tensor:
        self.stills = stills
        return torch.zeros(len(stills.scene), 3, size, size)

    def encode_image(self, image: torch.Tensor, normalize: bool) -> torch.Tensor:
        assert self.stills is not None
        rows = []
        for i in range(len(image)):
            t = true_words(self.stills, i, int(self.stills.larger[i]))
            rows.append(self.code([t["shape"], t["colour"], t["orientation"], t["row"], t["column"]]))
        return torch.stack(rows)

    def encode_text(self, tokens: torch.Tensor, normalize: bool) -> torch.Tensor:
        rows = []
        for row in tokens.tolist():
            words = decode(row).split()
            rows.append(self.code(words[words.index("larger") :] if "larger" in words else []))
        return torch.stack(rows)

    def code(self, words: list[str]) -> torch.Tensor:
        names = [*palette.SHAPES, *palette.COLOURS, *ORIENTATIONS, *ROWS, *COLUMNS]
        return torch.tensor([float(name in words[:6]) for name in names])


def test_a_model_that_knows_scores_100(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Oracle()
    monkeypatch.setattr(evaluate, "draw_stills", model.remember)
    config = load_pretrain_config("tiny_clip", TINY)
    device = torch.device("cpu")
    scores = evaluate.evaluate(model, config, lambda number: stream(device, 0, "held-out", number))
    assert [scores[name] for name in evaluate.ATTRIBUTES] == [100] * 4
    assert scores["stills"] == 64
    assert 40 < scores["clear_stills"] < 64


# --- training ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[Progress]]:
    out = tmp_path_factory.mktemp("pretrain")
    reports: list[Progress] = []
    config = load_pretrain_config("tiny_clip", {**TINY, "steps": 40})
    result = pretrain(config, out, device="cpu", progress=reports.append)
    return out, result, reports


def test_loss_falls(finished: tuple[Path, dict[str, Any], list[Progress]]) -> None:
    _, result, reports = finished
    assert [p.step for p in reports] == list(range(4, 41, 4))
    assert reports[-1].loss < reports[0].loss - 0.3
    assert result["step"] == 40
    assert reports[-1].seconds_left == 0


def test_files_of_a_finished_pretraining(finished: tuple[Path, dict[str, Any], list[Progress]]) -> None:
    out, result, _ = finished
    names = {"tiny_clip.safetensors", "tiny_clip.md", "tiny_clip_loss.png", "tiny_clip_log.jsonl"}
    assert {p.name for p in out.iterdir()} == names
    state, config = load_embedded_state(out / "tiny_clip.safetensors")
    model = build_clip(config)
    model.load_state_dict(state, strict=True)
    assert all(value.dtype == torch.float32 for value in state.values())
    card = (out / "tiny_clip.md").read_text()
    assert f"{result['shape']:.1f} %" in card
    lines = [json.loads(line) for line in (out / "tiny_clip_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(4, 41, 4))
    with pytest.raises(UserError, match="exists"):
        pretrain(load_pretrain_config("tiny_clip", TINY), out, device="cpu")


def test_a_resumed_pretraining_ends_in_the_same_numbers(tmp_path: Path) -> None:
    config = load_pretrain_config("tiny_clip", TINY)
    pretrain(config, tmp_path / "whole", device="cpu")
    pretrain(config, tmp_path / "parts", device="cpu", stop_after=5)
    assert (tmp_path / "parts" / "checkpoint.pt").exists()
    with pytest.raises(UserError, match="another config"):
        pretrain(config.model_copy(update={"lr": 1e-4}), tmp_path / "parts", device="cpu")
    pretrain(config, tmp_path / "parts", device="cpu")
    whole, parts = (tmp_path / p / "tiny_clip.safetensors" for p in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_streams_are_unrelated() -> None:
    device = torch.device("cpu")
    keys = [(0, "train", 0), (0, "train", 1), (1, "train", 0), (0, "held-out", 0)]
    draws = {tuple(torch.rand(3, generator=stream(device, *key)).tolist()) for key in keys}
    assert len(draws) == 4


# --- errors ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_sise=4", "batch_sise: no such field"),
        ("lr=-1", "lr"),
        ("image.patch_size=7", "not a multiple"),
        ("steps=many", "steps"),
        ("shared.colors=1", "shared"),
    ],
)
def test_bad_configs_are_user_errors(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        main(None, tmp_path, [change], "cpu")


def test_unknown_names_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tiny_clip"):
        load_pretrain_config("tiny_clop")
    with pytest.raises(UserError, match="Unknown"):
        weights_file("huge_clip")
    broken = tmp_path / "x.safetensors"
    broken.write_bytes(b"not a tensor file")
    with pytest.raises(UserError, match="cannot be read"):
        load_embedded_state(broken)


def test_config_holds_everything() -> None:
    assert get_args(Attribute) == ATTRIBUTES
    config = load_pretrain_config("tiny_clip")
    assert PretrainConfig.model_validate_json(config.model_dump_json()) == config
