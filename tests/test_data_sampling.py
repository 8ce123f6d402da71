"""Frame indices against plain loops, for videos of every length from one frame up."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from petl_bench.data import sampling
from petl_bench.dataset_config import Sampling

LENGTHS = range(1, 401)
SEGMENTS = [Sampling(frames=T) for T in (1, 3, 4, 8, 16)]
OFFICIAL = [Sampling(frames=T, mode="official_segments") for T in (1, 3, 8, 16, 32)]
DENSE = [Sampling(frames=T, mode="dense", stride=s) for T, s in ((8, 16), (8, 2), (5, 1), (1, 4))]


def _half_down(x: Fraction) -> int:
    return ceil(x - Fraction(1, 2))


def _naive_centres(length: int, parts: int) -> list[int]:
    """Part k covers the time [k, k + 1) x length / parts; frame i stands at time i + 1/2."""
    out: list[int | None] = [None] * parts
    for k in range((parts + 1) // 2):
        middle = (Fraction(k) + Fraction(1, 2)) * length / parts
        frame = min(max(_half_down(middle - Fraction(1, 2)), 0), length - 1)
        out[parts - 1 - k] = length - 1 - frame
        out[k] = frame
    return [i for i in out if i is not None]


@pytest.mark.parametrize("config", SEGMENTS, ids=str)
@pytest.mark.parametrize("temporal", [1, 2, 3])
def test_segment_views_against_a_loop(config: Sampling, temporal: int) -> None:
    for length in LENGTHS:
        expected = _naive_centres(length, config.frames * temporal)
        views = sampling.view_indices(length, config, temporal)
        assert views.tolist() == [expected[v::temporal] for v in range(temporal)], length


@pytest.mark.parametrize("config", DENSE, ids=str)
@pytest.mark.parametrize("temporal", [1, 2, 3, 4, 5, 6, 10])
def test_dense_views_against_the_official_rule(config: Sampling, temporal: int) -> None:
    """Repeat the last frame until the run fits, then starts from 0 to the room that is left, rounded."""
    span = (config.frames - 1) * config.stride + 1
    for length in LENGTHS:
        shown = list(range(length)) + [length - 1] * max(0, span - length)
        room = len(shown) - span
        expected = []
        for view in range(temporal):
            start = room // 2 if temporal == 1 else round(room / (temporal - 1) * view)
            expected.append(shown[start : start + span : config.stride])
        assert sampling.view_indices(length, config, temporal).tolist() == expected, length


def _official_parts(length: int, parts: int) -> list[tuple[int, int]]:
    """The first and last frame of each part: neighbours share one."""
    size = (length - 1) / parts
    return [(round(size * i), round(size * (i + 1))) for i in range(parts)]


@pytest.mark.parametrize("config", OFFICIAL, ids=str)
def test_official_segments_against_the_official_rule(config: Sampling) -> None:
    for length in LENGTHS:
        parts = _official_parts(length, config.frames)
        (view,) = sampling.view_indices(length, config, 1)
        assert view.tolist() == [(first + last) // 2 for first, last in parts], length
        draws = [sampling.train_indices(length, config, np.random.default_rng(d)) for d in range(6)]
        for draw in draws:
            assert draw.dtype == np.int64
            assert all(first <= i <= last for i, (first, last) in zip(draw.tolist(), parts, strict=True))


def test_official_segments_draw_every_frame_of_a_part_alike() -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([sampling.train_indices(40, OFFICIAL[2], rng) for _ in range(3000)])
    for part, (first, last) in enumerate(_official_parts(40, 8)):
        share = np.bincount(draws[:, part], minlength=40)[first : last + 1] / 3000
        assert np.abs(share - 1 / (last - first + 1)).max() < 0.045  # 6 sigma
        assert share.sum() == pytest.approx(1)


def test_the_default_protocol_is_symmetric_in_time() -> None:
    """The exact 50 % ceiling of order-blind methods needs i and 23 - i chosen together."""
    (view,) = sampling.view_indices(24, Sampling(frames=8), 1)
    assert view.tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert (23 - view[::-1]).tolist() == view.tolist()


@pytest.mark.parametrize("temporal", [1, 2, 3])
def test_views_of_a_reversed_video_are_the_views_reversed(temporal: int) -> None:
    for config in SEGMENTS:
        for length in LENGTHS:
            if config.frames * temporal % 2 and length % 2 == 0:
                continue  # an even number of frames has no middle one
            views = sampling.view_indices(length, config, temporal)
            assert np.array_equal(length - 1 - views[::-1, ::-1], views)


@pytest.mark.parametrize("temporal", [1, 2, 3, 5])
def test_dense_views_of_a_reversed_video_are_the_views_reversed(temporal: int) -> None:
    for config in DENSE:
        span = (config.frames - 1) * config.stride + 1
        for length in range(span, 401):
            if temporal % 2 and (length - span) % 2:
                continue  # there is no middle
            views = sampling.view_indices(length, config, temporal)
            assert np.array_equal(length - 1 - views[::-1, ::-1], views)


@pytest.mark.parametrize("config", SEGMENTS, ids=str)
def test_training_takes_a_frame_of_each_part(config: Sampling) -> None:
    T = config.frames
    for length in LENGTHS:
        for draw in range(6):
            indices = sampling.train_indices(length, config, np.random.default_rng(draw))
            assert indices.shape == (T,)
            for i, index in enumerate(indices.tolist()):
                # frame `index` covers [index, index + 1), which must meet part i
                assert index + 1 > Fraction(i * length, T) and index < Fraction((i + 1) * length, T), length


def test_training_segments_are_uniform() -> None:
    """24 frames, 8 parts of 3: each frame is drawn in a third of the clips (6 sigma of 3000 draws: 0.052)."""
    rng = np.random.default_rng(0)
    draws = np.stack([sampling.train_indices(24, Sampling(frames=8), rng) for _ in range(3000)])
    share = np.stack([(draws == frame).mean(0) for frame in range(24)], 1)  # (part, frame)
    for part in range(8):
        assert abs(share[part, 3 * part : 3 * part + 3] - 1 / 3).max() < 0.052
        assert share[part].sum() == pytest.approx(1)


@pytest.mark.parametrize("config", DENSE, ids=str)
def test_dense_training_runs_start_everywhere(config: Sampling) -> None:
    for length in LENGTHS:
        room = max(0, length - (config.frames - 1) * config.stride - 1)
        starts = set()
        for draw in range(400 if room < 30 and length % 5 == 0 else 20):
            indices = sampling.train_indices(length, config, np.random.default_rng(draw)).tolist()
            expected = [indices[0]]
            for _ in range(config.frames - 1):  # a step that leaves the video is not taken
                step = expected[-1] + config.stride
                expected.append(step if step < length else expected[-1])
            assert indices == expected, length
            starts.add(indices[0])
        assert min(starts) >= 0 and max(starts) <= room
        if room < 30 and length % 5 == 0:
            assert starts == set(range(room + 1))


@pytest.mark.parametrize(
    ("mode", "length", "share"), [("segments", 40, 1 / 5), ("official_segments", 41, 1 / 6)]
)
def test_every_part_of_a_training_clip_has_a_draw_of_its_own(mode: str, length: int, share: float) -> None:
    """Where in its part a frame lies says nothing of the others: any two agree as often as chance has it."""
    rng = np.random.default_rng(0)
    config = Sampling(frames=8, mode=mode)  # parts of five frames, or of six with shared ends
    draws = np.stack([sampling.train_indices(length, config, rng) for _ in range(3000)])
    offsets = draws - 5 * np.arange(8)
    assert offsets.min() == 0 and offsets.max() == round(1 / share) - 1
    for a in range(8):
        for b in range(a):
            assert abs((offsets[:, a] == offsets[:, b]).mean() - share) < 0.045, (a, b)  # 6 sigma
            assert abs(np.corrcoef(offsets[:, a], offsets[:, b])[0, 1]) < 0.11, (a, b)
