"""Pretraining learns, a resumed one ends in the same numbers, and its scores mean what they say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from told_stills import true_words

from petl_bench.errors import UserError
from petl_bench.pretrain import Progress, evaluate, load_pretrain_config, pretrain
from petl_bench.pretrain.config import PretrainConfig
from petl_bench.pretrain.model import build_clip, new_clip, parameter_groups, sincos_2d
from petl_bench.pretrain.run import main
from petl_bench.pretrain.stills import (
    Stills,
)
from petl_bench.pretrain.train import clip_loss, learning_rate, stream
from petl_bench.pretrain.vocabulary import (
    ATTRIBUTES,
    COLUMNS,
    ORIENTATIONS,
    ROWS,
    Attribute,
    decode,
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
