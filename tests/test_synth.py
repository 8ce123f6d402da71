"""The rendered worlds: what is drawn, and that only the direction of time tells twins apart."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from petl_bench.errors import UserError
from petl_bench.synth import (
    RENDERER_VERSION,
    class_names,
    motions,
    pairs,
    palette,
    render_video,
    short_names,
    video,
)
from petl_bench.synth.classes import label_of
from petl_bench.synth.renderer import render
from petl_bench.synth.scene import Scene

SMALL = {"size": 32, "length": 12, "seed": 0}


def plain_scene(shape: str, *, radius: float, angle: float, centre: tuple[float, float]) -> Scene:
    """A white shape on black; the second object and the panels are not visible."""
    return Scene(
        ground=torch.zeros(1, 2, 3),
        gradient=torch.tensor([[1.0, 0.0]]),
        waves=torch.zeros(1, 3, 4),
        shape=torch.tensor([[palette.SHAPES.index(shape), 0]]),
        colour=torch.ones(1, 2, 3),
        centre=torch.tensor([[centre, (0.0, 0.0)]]),
        radius=torch.tensor([[radius, 0.3]]),
        angle=torch.tensor([[angle, 0.0]]),
        opacity=torch.tensor([[1.0, 0.0]]),
        panel_centre=torch.zeros(1, 2, 2),
        panel_half=torch.full((1, 2, 2), 0.5),
        panel_angle=torch.zeros(1, 2),
        panel_colour=torch.zeros(1, 3),
        panel_opacity=torch.zeros(1, 2),
        shift=torch.zeros(1, 2),
        zoom=torch.ones(1, 2),
        softness=torch.ones(1),
    )


def inside(shape: str, x: float, y: float) -> bool:
    """Whether a point lies in an upright shape of radius 1, written without distances."""
    if shape == "circle":
        return x * x + y * y < 0.95**2
    if shape == "ring":
        return 0.51**2 < x * x + y * y < 0.99**2
    if shape == "square":
        return max(abs(x), abs(y)) < 0.82
    if shape == "diamond":
        return abs(x) / 0.68 + abs(y) / 1.25 < 1
    if shape == "cross":
        return min(abs(x), abs(y)) < 0.34 and max(abs(x), abs(y)) < 1.05
    if shape == "triangle":  # apex up: below both slanted sides, above the base
        return y > -0.6 and math.sqrt(3) * abs(x) + y < 1.2
    raise AssertionError(shape)


@pytest.mark.parametrize("shape", ["circle", "ring", "square", "diamond", "cross", "triangle"])
def test_renderer_agrees_with_a_loop_over_pixels(shape: str) -> None:
    size, radius, angle, centre, fine = 32, 0.6, 0.4, (0.1, -0.2), 6
    # the mark is dark on white: its centre is the only thing that a loop over the outline does not know
    drawn = render(plain_scene(shape, radius=radius, angle=angle, centre=centre), size)[0].mean(0)
    wrong = []
    for row in range(size):
        for column in range(size):
            count = 0
            for i in range(fine):
                for j in range(fine):
                    px = (column + (j + 0.5) / fine) / size * 2 - 1 - centre[0]
                    py = 1 - (row + (i + 0.5) / fine) / size * 2 - centre[1]
                    x = (px * math.cos(angle) + py * math.sin(angle)) / radius
                    y = (-px * math.sin(angle) + py * math.cos(angle)) / radius
                    count += inside(shape, x, y)
            px, py = (column + 0.5) / size * 2 - 1 - centre[0], 1 - (row + 0.5) / size * 2 - centre[1]
            x = (px * math.cos(angle) + py * math.sin(angle)) / radius
            y = (-px * math.sin(angle) + py * math.cos(angle)) / radius
            if math.hypot(x, y - 0.55) > 0.62:
                wrong.append(abs(count / fine**2 - drawn[row, column].item()))
    # an edge one pixel wide is not exactly a box filter, at corners least of all
    assert np.mean(wrong) < 0.01
    assert max(wrong) < 0.3


def test_the_mark_points_where_the_angle_says() -> None:
    for angle, (row, column) in {0.0: (4, 16), math.pi / 2: (16, 4), math.pi: (27, 16)}.items():
        image = render(plain_scene("ring", radius=1.0, angle=angle, centre=(0.0, 0.0)), 32)[0].mean(0)
        assert image[row, column] < 0.2, (angle, row, column)


def test_a_frame_does_not_depend_on_its_company() -> None:
    draws = motions.draw(torch.Generator().manual_seed(3), 2, 6)
    scene = motions.forward(draws, 4, 6)
    together = render(scene, 24)
    alone = torch.cat([render(scene.part(i, i + 1), 24) for i in range(12)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("index", range(0, 32, 2))
def test_test_clips_come_in_exactly_reversed_couples(index: int) -> None:
    frames, label = render_video("motion", "test", index, **SMALL)
    mirrored, twin = render_video("motion", "test", index + 1, **SMALL)
    assert (min(label, twin), max(label, twin)) in pairs("motion")
    assert np.array_equal(frames, mirrored[::-1])
    assert not np.array_equal(frames, mirrored)


def test_a_training_scene_of_a_class_is_its_twins_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    for first, second in pairs("motion"):
        monkeypatch.setattr(video, "label_of", lambda *_, label=first: label)
        forward, _ = render_video("motion", "train", 5, **SMALL)
        monkeypatch.setattr(video, "label_of", lambda *_, label=second: label)
        backward, _ = render_video("motion", "train", 5, **SMALL)
        assert np.array_equal(forward, backward[::-1])


def test_draws_are_the_same_for_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[motions.Draws] = []
    original = motions.forward

    def spy(draws: motions.Draws, pair: int, length: int) -> Scene:
        seen.append(draws)
        return original(draws, pair, length)

    monkeypatch.setattr(motions, "forward", spy)
    for label in range(16):
        monkeypatch.setattr(video, "label_of", lambda *_, label=label: label)
        render_video("motion", "train", 11, size=8, length=4, seed=2)
    first = seen[0]
    for draws in seen[1:]:
        for name in ("place", "axis", "slope", "extent", "delay", "easing", "drift", "wobble", "shake"):
            assert torch.equal(getattr(first, name), getattr(draws, name)), name
        for name in ("ground", "waves", "shape", "colour", "centre", "radius", "angle", "panel_colour"):
            assert torch.equal(getattr(first.base, name), getattr(draws.base, name)), name


def test_time_is_symmetric_in_distribution() -> None:
    draws = motions.draw(torch.Generator().manual_seed(0), 4000, 9)
    u = motions.progress(draws, 9)
    assert torch.all(u.diff(dim=1) >= 0)
    assert torch.all(u[:, 0] == 0)
    assert torch.all(u[:, -1] == 1)
    # exactly: reversal is an exchange of the draws of start and end ...
    swapped = motions.Draws(**{**vars(draws), "delay": draws.delay.flip(1), "easing": draws.easing.flip(1)})
    torch.testing.assert_close(1 - u.flip(1), motions.progress(swapped, 9), atol=1e-5, rtol=0)
    # ... and these are exchangeable, so forward and reversed progress have the same moments
    error = 4 * (u.std(0) / math.sqrt(4000)).clamp(min=1e-4)
    assert torch.all((u.mean(0) - (1 - u.flip(1)).mean(0)).abs() < 1.5 * error)
    assert torch.all(draws.drift.mean(0).abs() < 0.01)


def test_order_blind_statistics_cannot_tell_twins() -> None:
    """A linear classifier on mean and spread over time, fitted on one half, guesses on the other."""
    features, truth = [], []
    for index in range(480):
        frames, label = render_video("motion", "train", index, size=16, length=6, seed=1)
        x = frames.astype(np.float64) / 255
        x = x.reshape(6, 4, 4, 4, 4, 3).mean((2, 4))
        features.append(np.concatenate([x.mean(0).ravel(), x.std(0).ravel(), np.eye(8)[label // 2]]))
        truth.append(2.0 * (label % 2) - 1)
    x, y = np.array(features), np.array(truth)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    weights = np.linalg.solve(x[:320].T @ x[:320] + 30 * np.eye(x.shape[1]), x[:320].T @ y[:320])
    right = float((np.sign(x[320:] @ weights) == y[320:]).mean())
    assert abs(right - 0.5) < 4 * 0.5 / math.sqrt(160)


def test_motions_are_large() -> None:
    draws = motions.draw(torch.Generator().manual_seed(0), 200, 24)

    def ends(pair: str) -> tuple[Scene, Scene]:
        scene = motions.forward(draws, motions.PAIRS.index(pair), 24)
        at = torch.arange(200) * 24
        pick = {f: getattr(scene, f) for f in vars(scene)}
        return Scene(**{f: v[at] for f, v in pick.items()}), Scene(**{f: v[at + 23] for f, v in pick.items()})

    quarter = 0.5  # of the frame, in half frames
    first, last = ends("right")
    assert (last.centre - first.centre)[:, 1, 0].min() > quarter
    first, last = ends("up")
    assert (last.centre - first.centre)[:, 1, 1].min() > quarter
    first, last = ends("closer")
    assert (last.radius / first.radius)[:, 1].min() > 1.9
    first, last = ends("together")
    gap_first, gap_last = (s.centre.diff(dim=1).norm(dim=-1) for s in (first, last))
    assert (gap_first - gap_last).min() > quarter
    first, last = ends("cover")
    travelled = (last.panel_centre - first.panel_centre)[:, 0].norm(dim=-1)
    assert travelled.min() > 0.4
    torch.testing.assert_close(last.panel_centre[:, 0], last.centre[:, 1])
    first, last = ends("clockwise")
    assert (first.angle - last.angle)[:, 1].min() > math.pi / 2
    first, last = ends("into view")
    assert first.opacity[:, 1].max() == 0
    assert last.opacity[:, 1].min() == 1
    first, last = ends("opening")
    width_first, width_last = (s.panel_centre.diff(dim=1).norm(dim=-1) for s in (first, last))
    assert (width_last - width_first).min() > 1.0


def test_the_class_of_appearance_is_the_larger_object() -> None:
    names = class_names("appearance")
    for label in range(24):
        draws = motions.draw(torch.Generator().manual_seed(label), 1, 6)
        changed = video._with_appearance(draws, label)
        for pair in range(8):
            scene = motions.forward(changed, pair, 6, growth=video._APPEARANCE_GROWTH)
            larger = int(scene.radius[0].argmax())
            assert torch.all(scene.radius.argmax(1) == larger)
            _, colour, shape = names[label].split()
            assert palette.SHAPES[int(scene.shape[0, larger])] == shape
            distance = (scene.colour[0, larger] - torch.tensor(palette.COLOURS[colour])).abs().max()
            assert distance <= palette.COLOUR_JITTER + 1e-6


def test_labels_are_balanced_and_names_fit() -> None:
    for task, classes in (("motion", 16), ("appearance", 24)):
        assert len(class_names(task)) == len(set(class_names(task))) == classes
        assert len(short_names(task)) == len(set(short_names(task))) == classes
        for split in ("train", "test"):
            counts = Counter(label_of(task, split, i) for i in range(10 * classes))
            assert counts == dict.fromkeys(range(classes), 10)
    assert pairs("motion") == [(2 * p, 2 * p + 1) for p in range(8)]
    assert pairs("appearance") == []
    # within a couple, the order of the two is no hint
    assert {label_of("motion", "test", 2 * i) % 2 for i in range(16)} == {0, 1}


def test_clips_follow_from_their_arguments_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, label = render_video("appearance", "train", 3, **SMALL)
    torch.rand(7)
    torch.set_rng_state(before[0])
    again, same = render_video("appearance", "train", 3, **SMALL)
    assert np.array_equal(first, again)
    assert label == same
    assert first.shape == (12, 32, 32, 3)
    assert first.dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    others = [
        render_video("appearance", "test", 3, **SMALL)[0],
        render_video("appearance", "train", 27, **SMALL)[0],
        render_video("appearance", "train", 3, **{**SMALL, "seed": 1})[0],
    ]
    assert all(not np.array_equal(first, other) for other in others)


def test_pixels_change_only_with_the_version() -> None:
    """Golden values: whoever changes pixels bumps RENDERER_VERSION and these numbers with it."""
    means = [
        float(render_video(task, "train", index, size=32, length=8, seed=0)[0].mean())
        for task in ("motion", "appearance")
        for index in range(4)
    ]
    assert RENDERER_VERSION == 1
    assert means == pytest.approx(GOLDEN, abs=0.3)


GOLDEN = [213.8, 103.5, 95.7, 92.5, 91.4, 98.9, 80.2, 54.0]


@pytest.mark.parametrize(("task", "split"), [("motoin", "train"), ("motion", "val")])
def test_unknown_names_are_user_errors(task: str, split: str) -> None:
    with pytest.raises(UserError, match="Unknown"):
        render_video(task, split, 0, **SMALL)  # type: ignore[arg-type]
