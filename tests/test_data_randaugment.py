"""RandAugment against timm's own operations on single frames, and its draws against what they should be."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from timm.data import auto_augment as timm_ra
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from petl_bench.data import augment
from petl_bench.data.randaugment import NAMES, Applied, apply, draw
from petl_bench.dataset_config import Augment
from petl_bench.randaugment_policy import Policy, parse_policy

OFFICIAL = "rand-m7-n4-mstd0.5-inc1"


def _frames(count: int = 3, height: int = 60, width: int = 80) -> Tensor:
    """As a decoder hands them out: smooth blobs and noise, another picture for each frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    smooth = [
        np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse
    ]
    noise = rng.integers(-12, 13, (count, height, width, 3))
    pixels = np.clip(np.stack(smooth).astype(int) + noise, 10, 230).astype(np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _timm(frames: Tensor, drawn: Applied, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The operation by timm, with the settings of the official code, on one frame after the other."""
    nothing = {"PosterizeIncreasing": drawn.magnitude >= 10, "Posterize": drawn.magnitude < 2.5}
    if nothing.get(drawn.name):
        return torch.zeros_like(frames)  # no bit is kept; Pillow's own function refuses
    hparams = {"interpolation": Image.Resampling.BICUBIC, "magnitude_max": 30}
    op = timm_ra.AugmentOp(drawn.name, prob=1.0, magnitude=drawn.magnitude, hparams=hparams)
    monkeypatch.setattr(random, "random", lambda: 0.9 if drawn.negative else 0.1)
    done = [np.asarray(op(Image.fromarray(f.permute(1, 2, 0).numpy()))) for f in frames]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2)


def test_the_operations_are_timms() -> None:
    assert sorted(NAMES[True]) == sorted(timm_ra._RAND_INCREASING_TRANSFORMS)
    assert sorted(NAMES[False]) == sorted(timm_ra._RAND_TRANSFORMS)


@pytest.mark.parametrize("name", sorted({*NAMES[True], *NAMES[False]}))
def test_each_operation_gives_timms_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames()
    changed = False
    for magnitude in (0.0, 0.3, 3.0, 6.6, 7.0, 8.2, 10.0, 14.0):
        for negative in (False, True):
            drawn = Applied(name, magnitude, negative)
            ours = apply(frames, (drawn,))
            assert torch.equal(ours, _timm(frames, drawn, monkeypatch)), drawn
            changed |= not torch.equal(ours, frames)
    assert changed


@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateXRel", "TranslateYRel", "Rotate"])
def test_moved_frames_of_all_shapes_give_timms_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise from 0 to 255: the cubic overshoots; shifts in whole, half and odd pixels, and beyond the frame."""
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 9), (9, 1), (33, 20), (20, 33), (40, 40)):
        frames = torch.from_numpy(rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)).permute(
            0, 3, 1, 2
        )
        for magnitude in (*rng.uniform(0, 10, 6).tolist(), 5.0, 10.0, 10 / 0.45, 29.0):
            drawn = Applied(name, magnitude, bool(rng.random() < 0.5))
            assert torch.equal(apply(frames, (drawn,)), _timm(frames, drawn, monkeypatch)), (
                height,
                width,
                drawn,
            )


def test_operations_follow_each_other_on_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames()
    for seed in range(12):
        drawn = draw(parse_policy(OFFICIAL), np.random.default_rng(seed))
        expected = frames
        for one in drawn:
            expected = _timm(expected, one, monkeypatch)
        assert torch.equal(apply(frames, drawn), expected)


def test_every_frame_gets_the_same_operations() -> None:
    frames = _frames(1).expand(5, -1, -1, -1)
    for seed in range(10):
        done = apply(frames, draw(parse_policy(OFFICIAL), np.random.default_rng(seed)))
        assert all(torch.equal(done[0], other) for other in done)


def test_draws_have_the_right_distribution() -> None:
    rng = np.random.default_rng(0)
    clips = [draw(parse_policy(OFFICIAL), rng) for _ in range(6000)]
    # applied operations of a clip: binomial(4, 1/2); bounds are 5 sigma
    counts = np.bincount([len(clip) for clip in clips], minlength=5) / len(clips)
    assert np.abs(counts - np.array([1, 4, 6, 4, 1]) / 16).max() < 5 * np.sqrt(0.25 / 6000)
    drawn = [one for clip in clips for one in clip]
    names = Counter(one.name for one in drawn)
    share = np.array([names[name] for name in NAMES[True]]) / len(drawn)
    assert np.abs(share - 1 / 15).max() < 5 * np.sqrt(1 / 15 * 14 / 15 / len(drawn))
    pairs = [clip for clip in clips if len(clip) == 2]
    again = np.mean([a.name == b.name for a, b in pairs])  # with replacement
    assert again == pytest.approx(1 / 15, abs=5 * np.sqrt(1 / 15 / len(pairs)))
    magnitudes = np.array([one.magnitude for one in drawn])
    assert magnitudes.mean() == pytest.approx(7, abs=0.03) and magnitudes.std() == pytest.approx(
        0.5, abs=0.02
    )
    assert np.quantile(magnitudes, 0.9) == pytest.approx(7 + 0.5 * 1.2816, abs=0.04)  # normal
    assert np.mean([one.negative for one in drawn]) == pytest.approx(0.5, abs=0.025)
    # nothing hangs together: the strength and the sign do not depend on the operation
    rotated = [one for one in drawn if one.name == "Rotate"]
    assert np.mean([one.negative for one in rotated]) == pytest.approx(0.5, abs=0.1)


def test_magnitudes_are_clipped_uniform_or_fixed() -> None:
    def magnitudes(text: str) -> np.ndarray:
        rng = np.random.default_rng(0)
        return np.array([one.magnitude for _ in range(1500) for one in draw(parse_policy(text), rng)])

    wide = magnitudes("rand-m9-mstd5-p1")
    assert wide.min() == 0 and wide.max() == 10 and (wide == 10).mean() > 0.3
    assert magnitudes("rand-m9-mstd5-p1-mmax12").max() == 12
    uniform = magnitudes("rand-m8-mstd101-p1")
    assert uniform.max() < 8 and uniform.mean() == pytest.approx(4, abs=0.2)
    assert set(magnitudes("rand-m6-p1")) == {6.0}


def test_the_text_is_read_as_timm_reads_it() -> None:
    assert parse_policy(OFFICIAL) == Policy(7, 4, 0.5, 0.5, 10, True)
    for text in (
        OFFICIAL,
        "rand",
        "rand-m9-n3-mstd0.5",
        "rand-n1-p0.3-inc1-m5",
        "rand-m9-inc0",
        "rand-mstd200-m3",
    ):
        ours, theirs = parse_policy(text), timm_ra.rand_augment_transform(text, {})
        assert ours.operations == theirs.num_layers
        assert {op.name for op in theirs.ops} == set(NAMES[ours.increasing])
        (op, *_) = theirs.ops
        assert (ours.magnitude, ours.probability, ours.deviation) == (op.magnitude, op.prob, op.magnitude_std)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("m7-n4", "does not begin with 'rand'"),
        ("augmix-m3", "does not begin with 'rand'"),
        ("rand-m7-n4-mstdx", "'mstdx'"),
        ("rand-m7.5", r"'m7\.5'.*magnitude, a whole number"),
        ("rand-w0", "'w0'"),
        ("rand-t3a", "'t3a'"),
        ("rand-m7-m8", "'m' twice"),
        ("rand-inc2", "'inc2'"),
        ("rand--m7", "''"),
        ("rand-p1.5", "probability above 1"),
        ("rand-m11", "'mmax11' would allow it"),
    ],
)
def test_wrong_texts_are_named(text: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        Augment(randaugment=text)
    assert caught.value.errors()[0]["loc"] == ("randaugment",)


@pytest.mark.parametrize("crop", ["resized", "jitter"])
def test_whole_frames_are_augmented_before_the_crop(crop: str) -> None:
    frames = _frames()
    plain = Augment.model_validate({"crop": crop, "flip": True})
    config = plain.model_copy(update={"randaugment": OFFICIAL})
    changed = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        augment.train_view(frames, plain, 48, rng)  # what RandAugment draws comes after the crop and the flip
        drawn = draw(parse_policy(OFFICIAL), rng)
        expected = augment.train_view(apply(frames, drawn), plain, 48, np.random.default_rng(seed))
        assert torch.equal(augment.train_view(frames, config, 48, np.random.default_rng(seed)), expected)
        changed += bool(drawn)
    assert changed > 4


def test_frames_that_nothing_is_done_to_are_handed_on() -> None:
    frames = _frames()
    assert apply(frames, ()) is frames
    never = Augment(crop="jitter", jitter=(1.0, 1.0), randaugment="rand-n4-p0")
    square = frames[..., :60]
    assert torch.equal(augment.train_view(square, never, 60, np.random.default_rng(0)), square)
    assert torch.equal(tv.invert(frames), apply(frames, (Applied("Invert", 0.0, False),)))
