"""What methods and recipe take from their sources, and where they say that they deviate: against naive references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from petl_bench.backbone import ClipShape
from petl_bench.contract import random_clips, small_backbone
from petl_bench.data import augment, device_resize
from petl_bench.errors import UserError
from petl_bench.method import build, make_method, seed_of
from petl_bench.methods._divided_attention import DropPath, drop_path_shares
from petl_bench.train.trainee import learning_rate

DIVIDED = ("full", "temporal")


# -- TimeSformer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIVIDED)
def test_the_temporal_layer_is_zero_in_every_block(name: str) -> None:
    model = build(make_method(name), small_backbone(), 5)
    layers = [model.slots[f"{i}_before_attn"].linear for i in range(3)]
    assert not any(p.any() for layer in layers for p in layer.parameters())


@pytest.mark.parametrize("name", DIVIDED)
def test_the_time_embedding_starts_as_it_is_asked_to(name: str) -> None:
    zero = build(make_method(name, {"time_init": "zero"}), small_backbone(), 5, frames=6, seed=3)
    assert zero.shared["time"].time_embed.shape == (6, 32)
    assert not zero.shared["time"].time_embed.any()
    normal = build(make_method(name), small_backbone(), 5, frames=6, seed=3).shared["time"].time_embed
    torch.manual_seed(seed_of("adapt", 3))
    torch.randn(6, 32)  # what was always drawn first, so that committed runs are made again bit by bit
    assert torch.equal(normal, nn.init.trunc_normal_(torch.empty(6, 32), std=0.02))


@pytest.mark.parametrize("T", [1, 3, 5, 8, 13])
def test_clips_of_another_length(T: int) -> None:
    def resized(how: str) -> Tensor:
        model = build(make_method("temporal", {"time_resize": how}), small_backbone(), 5, frames=8)
        time = model.shared["time"]
        with torch.no_grad():
            time.time_embed.copy_(torch.arange(8.0)[:, None] ** 2 + torch.arange(32.0))
            return time(T)[:, 0]

    squares = [float(i * i) for i in range(8)]
    assert resized("nearest").tolist() == [squares[t * 8 // T] for t in range(T)]
    at = [min(max((t + 0.5) * 8 / T - 0.5, 0), 7) for t in range(T)]
    linear = [squares[int(a)] + (a - int(a)) * (squares[min(int(a) + 1, 7)] - squares[int(a)]) for a in at]
    torch.testing.assert_close(resized("linear"), torch.tensor(linear))


def test_drop_path_rises_from_nothing_to_the_share_in_even_steps() -> None:
    assert drop_path_shares(0.1, 12) == pytest.approx([0.1 * i / 11 for i in range(12)])
    assert drop_path_shares(0.3, 1) == [0.0]
    assert drop_path_shares(0.0, 3) == [0.0, 0.0, 0.0]


def test_no_drop_path_puts_nothing_into_the_network() -> None:
    for name in DIVIDED:
        model = build(make_method(name), small_backbone(), 5)
        assert {key.split("_", 1)[1] for key in model.slots} == {"before_attn"}


def test_whole_rows_or_clips_are_dropped_and_the_mean_is_kept() -> None:
    shape = ClipShape(1000, 3, (2, 2), 1)
    x = torch.ones(3000, 5, 2)
    torch.manual_seed(0)
    rows, clips = DropPath(0.25, "rows")(x, shape), DropPath(0.25, "clips")(x, shape)
    for out in (rows, clips):
        assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert torch.equal(out, out[:, :1, :1].expand_as(out))
        assert out.mean().item() == pytest.approx(1, abs=0.06)
    of_clips = clips[:, 0, 0].view(1000, 3)
    assert torch.equal(of_clips, of_clips[:, :1].expand(-1, 3))
    assert not torch.equal(rows[:, 0, 0].view(1000, 3), rows[:, 0, 0].view(1000, 3)[:, :1].expand(-1, 3))
    assert torch.equal(DropPath(0.25, "rows").eval()(x, shape), x)


@pytest.mark.parametrize(
    ("name", "temporal"), [("full", "divided"), ("temporal", "divided"), ("full", "none")]
)
def test_a_training_pass_equals_a_loop_over_timesformers_block(name: str, temporal: str) -> None:
    """Places drop their temporal attention, before its linear layer; frames their attention; clips their MLP."""
    B, T, largest = 2, 4, 0.6
    settings = {"drop_path": largest, **({"temporal": temporal} if name == "full" else {})}
    backbone = small_backbone()
    model = build(make_method(name, settings), backbone, 5, frames=T).train()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    clips = random_clips(backbone, B, T)
    torch.manual_seed(7)
    with torch.no_grad():
        found = model(clips)

    torch.manual_seed(7)
    vit, (rows, columns) = model.vit, backbone.shape_of(clips).grid
    N = rows * columns

    def kept(count: int, share: float) -> Tensor:
        return (torch.rand(count, 1, 1) >= share).float() / (1 - share) if share else torch.ones(count, 1, 1)

    with torch.no_grad():
        x = vit.norm_pre(vit._pos_embed(vit.patch_embed(backbone.pixels(clips))))
        for index, block in enumerate(vit.blocks):
            share = largest * index / 2
            if temporal == "divided":
                module, time = model.slots[f"{index}_before_attn"], model.shared["time"].time_embed
                mask = kept(B * N, share)
                x = x.clone()
                after = x.clone()
                for b in range(B):
                    for n in range(N):
                        frames = [b * T + t for t in range(T)]
                        sequence = x[frames, 1 + n][None] + time
                        branch = module.attn(module.norm(sequence)) * mask[b * N + n]
                        after[frames, 1 + n] += module.linear(branch)[0]
                x = after
            x = x + block.attn(block.norm1(x)) * kept(B * T, share)
            x = x + block.mlp(block.norm2(x)) * kept(B, share).repeat_interleave(T, 0)
        expected = model.head(vit.norm(x[:, 0].view(B, T, -1).mean(1)))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("settings", [{"time_init": "zero"}, {"time_resize": "nearest"}])
def test_settings_without_effect_are_errors(settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))}: of no effect with temporal: none"):
        make_method("full", {"temporal": "none", **settings})


# -- Houlsby's adapter ---------------------------------------------------------------------------------


def test_adapters_start_near_zero_where_asked_and_as_before_where_not() -> None:
    std = 0.001
    near = build(make_method("adapter", {"init_std": std, "width": 64}), small_backbone(), 5)
    weights = torch.cat(
        [w.flatten() for m in near.slots.values() for w in (m.down.weight, m.up.weight)]
    ).detach()
    assert weights.abs().max() <= 2 * std  # cut at two deviations, which leaves 0.88 of one
    assert weights.std().item() == pytest.approx(0.88 * std, rel=0.05)
    assert not any(p.any() for n, p in near.named_parameters() if n.startswith("slots.") and "bias" in n)
    assert not make_method("adapter", {"init_std": std}).identity_at_init
    default = build(make_method("adapter", {"width": 64}), small_backbone(), 5)
    assert not any(m.up.weight.any() for m in default.slots.values())
    assert all(m.down.weight.std() > 0.05 for m in default.slots.values())
    assert make_method("adapter").identity_at_init


# -- the recipe ----------------------------------------------------------------------------------------


def official_rate(step: int, per_epoch: int, warmup_epochs: float, epochs: int) -> float:
    """`lr_func` of the official ST-Adapter code, in our words, at a peak of 1."""
    epoch = step / per_epoch
    if epoch < warmup_epochs:
        return epoch / warmup_epochs
    return 0.5 + 0.5 * math.cos((epoch - warmup_epochs) / (epochs - warmup_epochs) * math.pi)


def test_the_warm_up_is_one_step_ahead_of_the_official_code_and_the_rest_is_equal() -> None:
    per_epoch, warmup_epochs, epochs = 7, 2, 5
    warmup, steps = warmup_epochs * per_epoch, epochs * per_epoch
    ours = [learning_rate(step, steps, warmup, 1.0) for step in range(steps)]
    theirs = [official_rate(step, per_epoch, warmup_epochs, epochs) for step in range(steps)]
    assert theirs[0] == 0
    assert ours[:warmup] == pytest.approx(theirs[1 : warmup + 1])
    assert ours[warmup:] == pytest.approx(theirs[warmup:])
    assert ours[warmup - 1] == ours[warmup] == 1


# -- 8 bit bicubic -------------------------------------------------------------------------------------


def cubic(distance: float) -> float:
    a, d = -0.75, abs(distance)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def along(values: np.ndarray, size: int) -> np.ndarray:
    """The last axis at another size, each pixel a sum over four."""
    length = values.shape[-1]
    out = np.zeros((*values.shape[:-1], size))
    for i in range(size):
        centre = (i + 0.5) * length / size - 0.5
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            out[..., i] += cubic(centre - tap) * values[..., min(max(tap, 0), length - 1)]
    return out


def to_8_bit(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255)


def test_bicubic_of_8_bit_is_rounded_and_cut_off_after_each_pass() -> None:
    rng = np.random.default_rng(0)
    frame = rng.choice([0.0, 255.0], size=(1, 3, 24, 20))  # edges between black and white, everywhere
    height, width = 35, 29
    cut = to_8_bit(along(to_8_bit(along(frame, width)).swapaxes(2, 3), height).swapaxes(2, 3))
    whole = along(along(frame, width).swapaxes(2, 3), height).swapaxes(2, 3)
    pixels = torch.tensor(frame, dtype=torch.uint8)
    ours = augment.resize(pixels, height, width, "bicubic")
    assert np.abs(ours.numpy() - cut).max() <= 1
    axes = [device_resize.Axis(0, 24, height)], [device_resize.Axis(0, 20, width)]
    on_device = device_resize.resize(pixels[None], *axes, height, width, "bicubic")[0]
    assert torch.equal(on_device, ours)
    # the official code resizes floats: pixels beyond black and white, and others wherever a first pass is cut off
    floats = interpolate(pixels.float(), (height, width), mode="bicubic", align_corners=False).numpy()
    assert np.abs(floats - whole).max() < 0.01
    assert floats.min() < -20 and floats.max() > 275
    assert np.abs(to_8_bit(floats) - ours.numpy()).max() > 10


# -- published variants --------------------------------------------------------------------------------


def test_the_adapter_before_the_last_mlp_of_the_released_models_gets_no_gradient() -> None:
    backbone = small_backbone()
    for positions in (["before_mlp"], ["before_attn", "before_mlp"]):
        model = build(make_method("st_adapter", {"positions": positions, "init": "up"}), backbone, 5)
        nn.init.ones_(model.head.weight)
        with torch.no_grad():
            for module in model.slots.values():
                module.up.weight.normal_()
                module.conv.weight.normal_()
        nn.functional.cross_entropy(model(random_clips(backbone)), torch.tensor([0, 1])).backward()
        moved = {
            key: bool(m.up.weight.grad is not None and m.up.weight.grad.any())
            for key, m in model.slots.items()
        }
        assert {key for key, does in moved.items() if not does} == {"2_before_mlp"}
