"""Crops, flips and resizing against torchvision and plain slicing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from petl_bench.data import augment
from petl_bench.dataset_config import Augment


def _video(height: int, width: int, length: int = 3) -> Tensor:
    """(T, 3, H, W): every pixel holds its place: row, column, number of the frame."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = [torch.stack([rows, columns, torch.full_like(rows, t)]) for t in range(length)]
    return torch.stack(frames).to(torch.uint8)


def _noise(height: int, width: int) -> Tensor:
    """As a decoder hands it out: (T, H, W, 3) in memory, seen as (T, 3, H, W)."""
    return torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (240, 427), (427, 240), (47, 100), (100, 48)])
def test_short_side_is_torchvisions_resize(height: int, width: int) -> None:
    frames = _noise(height, width)
    ours = augment.resize(frames, *augment.short_side(height, width, 48))
    assert torch.equal(ours, tv.resize(frames, [48], antialias=True))


def test_sides_keep_their_proportion() -> None:
    for height in range(1, 401, 7):
        for width in range(1, 401, 3):
            h, w = augment.short_side(height, width, 48)
            assert min(h, w) == 48
            assert max(h, w) == max(height, width) * 48 // min(height, width)
            assert (h == 48) if height <= width else (w == 48)


@pytest.mark.parametrize(("height", "width"), [(50, 81), (81, 50), (48, 48), (49, 48), (30, 64)])
@pytest.mark.parametrize("spatial", [1, 3])
def test_test_views_against_slices(height: int, width: int, spatial: int) -> None:
    frames = _noise(height, width)
    views = augment.spatial_views(frames, 48, spatial)
    resized = tv.resize(frames, [48], antialias=True)
    h, w = resized.shape[-2:]
    places = [(0, 0), ((h - 48) // 2, (w - 48) // 2), (h - 48, w - 48)]
    for view, (top, left) in zip(views, places if spatial == 3 else places[1:2], strict=True):
        assert torch.equal(view, resized[..., top : top + 48, left : left + 48])


def test_three_views_share_the_long_side_evenly() -> None:
    """Against a loop, for every width: first pixels, middle rounded down, last pixels."""
    for width in range(48, 401):
        (row,) = torch.arange(width).expand(1, 48, width).to(torch.int32)[None, :, :1]
        views = augment.spatial_views(row.expand(1, 3, 48, width), 48, 3)
        for view, left in zip(views, (0, (width - 48) // 2, width - 48), strict=True):
            assert view[0, 0, 0].tolist() == list(range(left, left + 48))


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60), (48, 64), (30, 40)])
def test_bicubic_is_pytorchs_without_antialiasing(height: int, width: int) -> None:
    """On a smooth picture; where a kernel overshoots 0 or 255, rounding in between cuts it off."""
    coarse = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 160 + 40
    frames = functional.interpolate(coarse, (height, width), mode="bicubic").round().to(torch.uint8)
    frames = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    config = Augment(scale=(0.1, 0.6))
    for draw in range(10):
        top, left, h, w = augment.resized_crop(height, width, config, np.random.default_rng(draw))
        crop = frames[..., top : top + h, left : left + w].float()
        expected = functional.interpolate(crop, (48, 48), mode="bicubic", align_corners=False)
        view = augment.train_view(frames, config, 48, np.random.default_rng(draw), "bicubic")
        assert (view.float() - expected).abs().max() <= 1.5  # half a level of rounding, in both directions
    (view,) = augment.spatial_views(frames, 48, 1, "bicubic")
    h, w = augment.short_side(height, width, 48)
    expected = functional.interpolate(frames.float(), (h, w), mode="bicubic", align_corners=False)
    top, left = (h - 48) // 2, (w - 48) // 2
    assert (view.float() - expected[..., top : top + 48, left : left + 48]).abs().max() <= 1.5


def test_nothing_is_touched_where_the_size_is_right() -> None:
    frames = _video(48, 48)
    assert augment.resize(frames, 48, 48) is frames
    assert torch.equal(augment.spatial_views(frames, 48, 1)[0], frames)
    still = Augment(crop="jitter", jitter=(1.0, 1.0))
    assert torch.equal(augment.train_view(frames, still, 48, np.random.default_rng(0)), frames)


def test_jitter_crops_one_square_out_of_all_frames() -> None:
    """At scale 1 a crop is a slice, so its place can be read off the pixels; every place comes up."""
    config = Augment(crop="jitter", jitter=(1.0, 1.0))
    frames = _video(48, 60)
    lefts = set()
    for draw in range(200):
        view = augment.train_view(frames, config, 48, np.random.default_rng(draw))
        left = int(view[0, 1, 0, 0])
        assert torch.equal(view, frames[..., left : left + 48])
        lefts.add(left)
    assert lefts == set(range(13))


def test_jitter_scales_the_short_side() -> None:
    """A ramp of 96 levels keeps its slope per pixel: the part of it that a crop shows tells the scale."""
    config = Augment(crop="jitter", jitter=(1.0, 1.5))
    frames = _video(96, 96)
    shown = []
    for draw in range(100):
        view = augment.train_view(frames, config, 48, np.random.default_rng(draw)).float()
        shown.append(float(view[0, 1, 0, -2] - view[0, 1, 0, 1]) / 45)
    assert min(shown) < 1.45 and max(shown) > 1.9  # pixels of the video per pixel of the crop: 2 / 1.5 to 2
    assert all(2 / 1.5 - 0.06 <= s <= 2.06 for s in shown)


def test_short_sides_are_the_official_codes() -> None:
    """K400's 1.0 to 1.15 of 224 is a side of 224 to 258, uniform before it is rounded."""
    sides = Counter()
    frames = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    seen = []
    original = augment.resize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "resize", lambda f, h, w, i: seen.append(h) or original(f, h, w, i))
        for draw in range(2000):
            augment.train_view(frames, Augment(crop="jitter"), 224, np.random.default_rng(draw))
            sides[seen[0]] += 1
            seen.clear()
    assert set(sides) == set(range(224, 259))
    assert 0.2 < sides[224] / (2000 / 34) < 0.9 and 0.2 < sides[258] / (2000 / 34) < 0.9  # half as often
    assert np.average(list(sides), weights=list(sides.values())) == pytest.approx(241, abs=1.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scale": (0.5, 0.1)}, "scale is"),
        ({"scale": (0.5, 1.5)}, "larger than the frame"),
        ({"ratio": (0.0, 1.0)}, "ratio is"),
        ({"jitter": (0.9, 1.1)}, "jitter begins at 0.9"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(change: dict[str, tuple[float, float]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Augment.model_validate(change)


def test_resized_crop_is_torchvisions_for_the_box() -> None:
    frames = _noise(120, 90)
    config = Augment(scale=(0.1, 0.6))
    for draw in range(20):
        box = augment.resized_crop(120, 90, config, np.random.default_rng(draw))
        view = augment.train_view(frames, config, 48, np.random.default_rng(draw))
        assert torch.equal(view, tv.resized_crop(frames, *box, size=[48, 48], antialias=True))


def test_boxes_have_the_wanted_areas_and_ratios_and_lie_anywhere() -> None:
    config = Augment(scale=(0.2, 0.5), ratio=(0.75, 4 / 3))
    rng = np.random.default_rng(0)
    boxes = np.array([augment.resized_crop(200, 300, config, rng) for _ in range(2000)])
    top, left, h, w = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + h <= 200).all() and (left + w <= 300).all()
    area, ratio = h * w / 60_000, w / h
    assert 0.195 < area.min() < 0.21 and 0.48 < area.max() < 0.505
    assert area.mean() == pytest.approx(0.35, abs=0.01)
    assert 0.74 < ratio.min() < 0.76 and 1.31 < ratio.max() < 1.35
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)
    assert (top / np.maximum(200 - h, 1)).mean() == pytest.approx(0.5, abs=0.03)
    assert (left / (300 - w)).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("height", "width"), [(20, 400), (400, 20)])
def test_boxes_that_do_not_fit_fall_back_to_the_centre(height: int, width: int) -> None:
    config = Augment(scale=(0.9, 1.0))
    ours = augment.resized_crop(height, width, config, np.random.default_rng(0))
    theirs = v2.RandomResizedCrop(48, scale=(0.9, 1.0)).make_params([torch.zeros(3, height, width)])
    assert ours == (theirs["top"], theirs["left"], theirs["height"], theirs["width"])


def test_half_of_the_clips_are_flipped_where_it_is_allowed() -> None:
    frames = _video(48, 48)
    config = Augment(crop="jitter", jitter=(1.0, 1.0), flip=True)
    flipped = 0
    for draw in range(400):
        view = augment.train_view(frames, config, 48, np.random.default_rng(draw))
        if not torch.equal(view, frames):
            assert torch.equal(view, frames.flip(-1))
            flipped += 1
    assert 160 < flipped < 240  # 4 sigma


def test_flip_setting_does_not_change_the_crop() -> None:
    frames = _noise(80, 80)
    for draw in range(10):
        plain = augment.train_view(frames, Augment(), 48, np.random.default_rng(draw))
        maybe = augment.train_view(frames, Augment(flip=True), 48, np.random.default_rng(draw))
        assert torch.equal(plain, maybe) or torch.equal(plain, maybe.flip(-1))
