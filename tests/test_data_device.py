"""Augmentation on the device against the workers' (Pillow's operations, PyTorch's resizing of 8 bit), pixel by pixel.

Here the device is the CPU. Everything below is equal to the bit, but where it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.data import augment, device_randaugment
from petl_bench.data.device_randaugment import MOST, apply_on_device, in_groups
from petl_bench.data.device_resize import Axis, drawn_views, resize, spatial_views
from petl_bench.data.packed import Decoded, PackedClips
from petl_bench.data.randaugment import NAMES, Applied, apply, draw
from petl_bench.dataset_config import Augment
from petl_bench.randaugment_policy import parse_policy

OFFICIAL = "rand-m7-n4-mstd0.5-inc1"
SIZES = [(1, 1), (1, 9), (9, 1), (2, 7), (33, 20), (20, 20), (60, 80)]  # height, width


def _frames(height: int, width: int, kind: str = "noise", count: int = 2) -> Tensor:
    """As a decoder hands them out: (T, H, W, 3) in memory, seen as (T, 3, H, W)."""
    rng = np.random.default_rng(height * 1000 + width)
    shape = (count, height, width, 3)
    pixels = {
        "noise": rng.integers(0, 256, shape),
        "flat": np.broadcast_to(rng.integers(0, 256, (count, 1, 1, 3)), shape),
        "soft": np.clip(rng.integers(-6, 7, shape).cumsum(1).cumsum(2) // 8 + 120, 10, 230),
    }[kind]
    return torch.from_numpy(pixels.astype(np.uint8)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", sorted({*NAMES[True], *NAMES[False]}))
def test_each_operation_gives_pillows_pixels(name: str) -> None:
    """Of clips of several sizes at once, every one with a strength of its own."""
    frames = [_frames(*size, kind) for size in SIZES for kind in ("noise", "flat", "soft")]
    changed = False
    rng = np.random.default_rng(0)
    for magnitude in (0.0, 0.3, 3.0, 6.6, 7.0, 8.2, 10.0, 14.0, 29.0):
        drawn = [
            Applied(name, magnitude * share, bool(rng.random() < 0.5)) for share in rng.random(len(frames))
        ]
        drawn[::3] = [Applied(name, magnitude, one.negative) for one in drawn[::3]]
        done = apply_on_device(frames, [(one,) for one in drawn])
        for before, after, one in zip(frames, done, drawn, strict=True):
            assert torch.equal(after, apply(before, (one,))), (one, before.shape)
            changed |= not torch.equal(after, before)
    assert changed


@pytest.mark.parametrize("policy", [OFFICIAL, "rand-m9-n3-mstd101-p0.8"])
def test_whole_policies_give_pillows_pixels(policy: str) -> None:
    """Clips of three sizes, none to four operations each."""
    frames = [_frames(*SIZES[-1 - i % 3], "soft") for i in range(40)]
    operations = [draw(parse_policy(policy), np.random.default_rng(i)) for i in range(40)]
    assert {len(drawn) for drawn in operations} >= {1, 2, 3}
    for before, after, drawn in zip(frames, apply_on_device(frames, operations), operations, strict=True):
        assert torch.equal(after, apply(before, drawn)), drawn
        if not drawn:
            assert after is before


def test_a_frame_of_ordinary_size() -> None:
    """240 x 427 pixels: counts of pixels beyond 16 bits, coordinates in the hundreds."""
    frames = _frames(240, 427, "soft", 1)
    for name in NAMES[True]:
        drawn = Applied(name, 6.7, True)
        (done,) = apply_on_device([frames], [(drawn,)])
        assert torch.equal(done, apply(frames, (drawn,))), name


def test_groups_are_of_one_kind_and_bounded() -> None:
    clips = [torch.empty(MOST // 4 if i % 3 else 2 * MOST, dtype=torch.uint8) for i in range(14)]
    groups = in_groups({i: i % 3 for i in range(14) if i != 4}, clips)
    assert sorted(i for group in groups for i in group) == [i for i in range(14) if i != 4]
    for group in groups:
        assert len({i % 3 for i in group}) == 1
        assert len(group) == 1 or sum(clips[i].numel() for i in group) <= MOST
    assert max(len(group) for group in groups) == 4


def test_clips_beyond_the_bound_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels, and never more of them at a time than the bound allows."""
    frames, drawn = _frames(60, 80, "soft", 7), (Applied("Contrast", 6.7, True), Applied("Rotate", 6.7, True))
    bound = 2 * frames[0].numel()
    box = augment.draw_view(60, 80, Augment(), 48, np.random.default_rng(0))
    monkeypatch.setattr(device_randaugment, "MOST", bound)
    seen: list[int] = []
    whole = device_randaugment.KINDS["Contrast"]
    monkeypatch.setitem(
        device_randaugment.KINDS, "Contrast", lambda part, of: seen.append(part.numel()) or whole(part, of)
    )
    (done,) = apply_on_device([frames], [drawn])
    assert torch.equal(done, apply(frames, drawn))
    assert len(frames) > 3 and len(seen) == -(-len(frames) // 2) and max(seen) <= bound
    (view,) = drawn_views([frames], [box], 48, "bicubic")
    assert torch.equal(view, augment.transform(frames, box, 48, "bicubic"))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", ["resized", "jitter"])
def test_crops_are_the_workers(interpolation: augment.Interpolation, crop: str) -> None:
    """Odd boxes, enlarged and reduced, flipped and not; clips of the same size have boxes of their own."""
    config = Augment.model_validate({"crop": crop, "flip": True, "jitter": (1.0, 1.4)})
    sizes = [(60, 80), (80, 60), (48, 48), (33, 101), (20, 31), (7, 5), (190, 120)]
    frames = [_frames(*sizes[i % len(sizes)], ("noise", "soft")[i % 2]) for i in range(70)]
    draws = [
        augment.draw_view(*f.shape[-2:], config, 48, np.random.default_rng(i)) for i, f in enumerate(frames)
    ]
    assert {one.flip for one in draws} == {True, False}
    for before, after, drawn in zip(
        frames, drawn_views(frames, draws, 48, interpolation), draws, strict=True
    ):
        assert torch.equal(after, augment.transform(before, drawn, 48, interpolation)), (drawn, before.shape)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("spatial", [1, 3])
def test_spatial_views_are_the_workers(interpolation: augment.Interpolation, spatial: int) -> None:
    frames = [_frames(*size) for size in ((60, 80), (81, 50), (48, 48), (60, 80), (49, 48), (30, 64))]
    for before, after in zip(frames, spatial_views(frames, 48, spatial, interpolation), strict=True):
        assert torch.equal(after, augment.spatial_views(before, 48, spatial, interpolation))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resizing_is_pytorchs_in_float(interpolation: augment.Interpolation) -> None:
    """On pictures whose cubics stay within 0..255; two roundings are up to a level from none."""
    config = Augment(scale=(0.1, 0.8))
    for i, (height, width) in enumerate([(60, 90), (90, 61), (48, 64), (30, 40)]):
        coarse = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(i)) * 160 + 40
        frames = functional.interpolate(coarse, (height, width), mode="bicubic").round().to(torch.uint8)
        drawn = augment.draw_view(height, width, config, 48, np.random.default_rng(i))
        top, left, h, w = drawn.box
        box = frames[..., top : top + h, left : left + w].float()
        expected = functional.interpolate(
            box, (48, 48), mode=interpolation, antialias=interpolation == "bilinear"
        )
        (ours,) = drawn_views([frames], [drawn], 48, interpolation)
        assert (ours - expected).abs().max() <= 1.25  # bicubic weights enlarge the first one


def test_a_large_reduction_is_within_a_level() -> None:
    """Beyond four times, sums of float32 are no longer exact."""
    frames = _frames(480, 640, count=1)
    (ours,) = spatial_views([frames], 48, 1, "bilinear")
    off = (ours.int() - augment.spatial_views(frames, 48, 1).int()).abs()
    assert off.max() <= 1
    assert off.float().mean() < 0.001


def test_axes_take_what_they_say() -> None:
    """At the frame's own scale a result is a slice: from `start` + `first` on, turned round where mirrored."""
    frames = _frames(40, 50)[None].contiguous()
    rows, columns = Axis(3, 20, 20, 2), Axis(5, 30, 30, 4, mirrored=True)
    assert torch.equal(resize(frames, [rows], [columns], 7, 9, "bilinear"), frames[..., 5:12, 9:18].flip(-1))


def _decoded(sizes: Sequence[tuple[int, int]], config: Augment | None, views: int = 1) -> list[Decoded]:
    """Clips of 4 frames; views repeat and reorder them."""
    clips = []
    for i, size in enumerate(sizes):
        rng = np.random.default_rng(i)
        drawn = augment.draw_view(*size, config, 48, rng) if config else None
        pixels = _frames(*size, "soft", 4).permute(0, 2, 3, 1).numpy()
        clips.append(Decoded(pixels, rng.integers(0, 4, (views, 5)), drawn))
    return clips


def test_packed_clips_are_what_a_worker_makes() -> None:
    """The whole way, on a batch of mixed sizes with one draw for both; nothing of the pack is changed by it."""
    config = Augment(flip=True, randaugment=OFFICIAL)
    clips = _decoded([(60, 80), (50, 70), (60, 80), (70, 50)] * 3, config)
    packed = PackedClips.of(clips, (5, 3, 48, 48), 1, "bicubic")
    assert packed.pixels.shape == (sum(5 * h * w * 3 for h, w in packed.sizes),)
    before = packed.pixels.clone()
    assert all(kept is clip.drawn for kept, clip in zip(packed.draws, clips, strict=True))
    done = packed.to(torch.device("cpu"))
    for clip, ours in zip(clips, done, strict=True):
        assert clip.drawn is not None
        frames = torch.from_numpy(clip.pixels).permute(0, 3, 1, 2)
        expected = augment.transform(frames, clip.drawn, 48, "bicubic")
        assert torch.equal(ours, expected[clip.places[0]])
    assert torch.equal(packed.pixels, before)
    assert torch.equal(packed.to(torch.device("cpu")), done)


def test_packed_test_views_are_what_a_worker_makes() -> None:
    clips = _decoded([(60, 80), (80, 60), (60, 80)], None, views=2)
    done = PackedClips.of(clips, (6, 5, 3, 48, 48), 3, "bilinear").to(torch.device("cpu"))
    assert done.shape == (3, 6, 5, 3, 48, 48)
    for clip, ours in zip(clips, done, strict=True):
        crops = augment.spatial_views(torch.from_numpy(clip.pixels).permute(0, 3, 1, 2), 48, 3)
        for t, places in enumerate(clip.places):
            for s, crop in enumerate(crops):
                assert torch.equal(ours[3 * t + s], crop[places])


def test_no_clips_make_an_empty_batch() -> None:
    assert PackedClips.of([], (5, 3, 48, 48), 1, "bicubic").to(torch.device("cpu")).shape == (0, 5, 3, 48, 48)


def test_nothing_is_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number comes back from the tensors, and no index is a mask: on a GPU both would wait for it."""

    def refused(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the host waits for the device")

    config = Augment(flip=True, randaugment="rand-m7-n8-mstd0.5-inc1-p1")
    packed = PackedClips.of(_decoded([(60, 80), (50, 70)] * 8, config), (5, 3, 48, 48), 1, "bicubic")
    assert {one.name for drawn in packed.draws for one in drawn.operations} == set(NAMES[True])
    for name in (
        "item",
        "tolist",
        "numpy",
        "cpu",
        "nonzero",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
    ):
        monkeypatch.setattr(Tensor, name, refused)
    for name in ("nonzero", "bincount", "unique", "masked_select"):
        monkeypatch.setattr(torch, name, refused)
    packed.to(torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_pixels_and_is_not_waited_for() -> None:
    """With TF32 allowed elsewhere, inside autocast, and with an error for whatever waits for the device."""
    config = Augment(flip=True, randaugment="rand-m7-n8-mstd0.5-inc1-p1")
    packs = [
        PackedClips.of(_decoded([(60, 80), (50, 70)] * 8, config), (5, 3, 48, 48), 1, "bicubic"),
        PackedClips.of(_decoded([(240, 427), (240, 320)], config), (5, 3, 224, 224), 1, "bilinear"),
        PackedClips.of(_decoded([(60, 80), (80, 60)], None, views=2), (6, 5, 3, 48, 48), 3, "bicubic"),
    ]
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    for packed in packs:
        packed.to(torch.device("cuda"))  # the first calls set things up
        there = packed.pin_memory()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                done = there.to(torch.device("cuda"), non_blocking=True)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(done.cpu(), packed.to(torch.device("cpu")))
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    torch.backends.cuda.matmul.fp32_precision = before
