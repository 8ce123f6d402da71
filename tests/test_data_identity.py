"""What makes two data sets, renderings or splits the same, and what does not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from petl_bench import synth
from petl_bench.config import BackboneConfig, MethodConfig, Recipe, RunConfig
from petl_bench.data import Clip, Manifest, VideoData
from petl_bench.data import open_data as real_open
from petl_bench.data.manifest import hold_out, take_fraction
from petl_bench.data.rendered import Rendering
from petl_bench.dataset_config import DatasetConfig, ListSource, Sampling, SynthSource
from petl_bench.train import run

SYNTH: dict[str, Any] = {
    "kind": "synth", "task": "motion", "train_clips": 8, "test_clips": 4, "size": 32, "length": 8, "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"task": "appearance"}, {"size": 34}, {"length": 9}, {"seed": 1}], ids=str
)
def test_another_rendering_has_another_folder(change: dict[str, Any], tmp_path: Path) -> None:
    one, other = (Rendering(SynthSource(**{**SYNTH, **c}), tmp_path) for c in ({}, change))
    assert one.folder != other.folder and one.folder.parent == other.folder.parent == tmp_path


def test_a_newer_renderer_has_another_folder_and_more_clips_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Rendering(SynthSource(**SYNTH), tmp_path)
    folder = one.folder
    assert Rendering(SynthSource(**{**SYNTH, "train_clips": 9, "test_clips": 5}), tmp_path).folder == folder
    monkeypatch.setattr(synth, "RENDERER_VERSION", 99)
    assert one.folder != folder
    places = one.places()
    assert places == [("train", i) for i in range(8)] + [("test", i) for i in range(4)]
    assert len({one.file(place) for place in places}) == 12


# --- splits


def clips(*rows: tuple[int, str], folder: str = "x") -> tuple[Clip, ...]:
    return tuple(Clip(Path(folder) / name, label, name) for label, name in rows)


ROWS = ((0, "a"), (1, "b"), (0, "c"))


@pytest.mark.parametrize(
    "rows",
    [((1, "a"), (1, "b"), (0, "c")), ((0, "a"), (1, "d"), (0, "c")), ((1, "b"), (0, "a"), (0, "c")), ROWS[:2], ()],
    ids=str,
)  # fmt: skip
def test_splits_differ_by_label_name_order_and_number(rows: tuple[tuple[int, str], ...]) -> None:
    assert Manifest("train", clips(*rows)).sha256 != Manifest("train", clips(*ROWS)).sha256


def test_hashes_are_those_of_committed_records() -> None:
    """Written down again: another way to hash would part all new runs from the old ones."""
    rows = hashlib.sha256(b"0\ta\n1\tb\n0\tc\n").hexdigest()
    assert Manifest("train", clips(*ROWS)).sha256 == rows
    none = hashlib.sha256(b"").hexdigest()
    whole = f"train {rows}\nvalidation {none}\ntest {rows}\n"
    assert video_data(clips(*ROWS), (), clips(*ROWS)).sha256 == hashlib.sha256(whole.encode()).hexdigest()


def test_the_same_split_lies_anywhere() -> None:
    assert Manifest("train", clips(*ROWS, folder="y")).sha256 == Manifest("train", clips(*ROWS)).sha256


def video_data(train: tuple[Clip, ...], validation: tuple[Clip, ...], test: tuple[Clip, ...]) -> VideoData:
    config = DatasetConfig(name="d", summary="", classes=2, source=ListSource(kind="list"))
    names = ("train", "validation", "test")
    splits = (Manifest(name, part) for name, part in zip(names, (train, validation, test), strict=True))
    return VideoData(config, ("a", "b"), (), *splits)


def test_data_differ_by_what_is_in_each_split() -> None:
    a, b, c = (clips(row) for row in ROWS)
    hashes = {
        video_data(*order).sha256 for order in ((a, b, c), (a, c, b), (b, a, c), (a, b, ()), (a, (), b))
    }
    assert len(hashes) == 5
    assert video_data(a, b, c).sha256 == video_data(a, b, c).sha256


def of_classes(**counts: int) -> Manifest:
    rows = [(int(label[1:]), f"{label}/{i}") for label, count in counts.items() for i in range(count)]
    return Manifest("train", clips(*rows))


def test_what_is_held_out_is_a_share_of_each_class() -> None:
    """Rounded, at least one of two or more, never all; the order is kept, and chance is of the names alone."""
    manifest = of_classes(c0=40, c1=10, c2=3, c3=2, c4=1)
    rest, held = hold_out(manifest, 0.25)
    counts = [sum(clip.label == label for clip in held.clips) for label in range(5)]
    assert counts == [10, 2, 1, 1, 0]
    assert sorted(rest.clips + held.clips, key=manifest.clips.index) == list(manifest.clips)
    for part in (rest, held):
        assert list(part.clips) == sorted(part.clips, key=manifest.clips.index)
    assert (rest.split, held.split) == ("train", "validation")
    _, same = hold_out(replace(manifest, clips=manifest.clips[::-1]), 0.25)
    assert set(same.clips) == set(held.clips)
    assert hold_out(manifest, 0.99)[0].clips and hold_out(manifest, 0)[1].clips == ()
    assert [clip.label for clip in hold_out(manifest, 0.99)[0].clips] == [0, 1, 2, 3, 4]
    assert {clip.id for clip in held.clips} != {f"c0/{i}" for i in range(10)} | {
        "c1/0",
        "c1/1",
        "c2/0",
        "c3/0",
    }


def test_smaller_shares_are_within_larger_ones() -> None:
    manifest = of_classes(c0=40, c1=10, c2=3)
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    found = [take_fraction(manifest, share) for share in shares]
    for small, large in pairwise(found):
        assert set(small.clips) < set(large.clips)
    counts = [[sum(clip.label == label for clip in m.clips) for label in range(3)] for m in found]
    assert counts == [[4, 1, 1], [10, 2, 1], [20, 5, 2], [30, 8, 2], [40, 10, 3]]
    assert found[-1] is manifest
    # what is held out is drawn otherwise: a small share must not be just what validation leaves
    held = {clip.id for clip in hold_out(manifest, 0.5)[1].clips}
    assert {clip.id for clip in found[2].clips} not in (held, {clip.id for clip in manifest.clips} - held)


# --- data that several runs share


def config(tmp_path: Path, validation: float = 0.5, **fields: Any) -> RunConfig:
    data = DatasetConfig(
        name="d", summary="", classes=2, source=ListSource(kind="list"), root=str(tmp_path), **fields
    )
    vit = BackboneConfig(name="v", summary="", source="embedded", model="tiny_clip")
    recipe = Recipe(epochs=1, batch_size=1, validation=validation)
    return RunConfig(
        suite="s", method=MethodConfig(name="full"), dataset=data, backbone=vit, recipe=recipe, seed=0
    )


def test_runs_share_data_of_one_config_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        lines = [f"{split}{i}.mp4 {i % 2}\n" for i in range(8)]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
        for i in range(8):
            (tmp_path / f"{split}{i}.mp4").touch()
    opened: list[tuple[float, float, int]] = []

    def opening(dataset: DatasetConfig, validation: float, progress: Any) -> VideoData:
        opened.append((validation, dataset.fraction, dataset.sampling.frames))
        return real_open(dataset, validation, progress)

    monkeypatch.setattr(run, "open_data", opening)
    variants: list[dict[str, Any]] = [
        {}, {"validation": 0.25}, {"fraction": 0.5}, {"sampling": Sampling(frames=2)}, {"validation": 0},
    ]  # fmt: skip
    configs = [config(tmp_path, **v) for v in variants for _ in range(2)]
    with run._stop_on_signals() as stop:
        found = run._open_all(configs, run.Options(), stop)
    assert opened == [(0.5, 1.0, 8), (0.25, 1.0, 8), (0.5, 0.5, 8), (0.5, 1.0, 2), (0, 1.0, 8)]
    sizes = [
        (len(data.train.clips), len(data.validation.clips), data.config.sampling.frames)
        for data in (found[run._data_key(c)] for c in configs[::2])
    ]
    assert sizes == [(4, 4, 8), (6, 2, 8), (2, 4, 8), (4, 4, 2), (8, 0, 8)]


def test_runs_are_in_lockstep_where_all_but_the_method_agrees(tmp_path: Path) -> None:
    one = config(tmp_path)
    probe = one.model_copy(update={"method": MethodConfig(name="linear_probe", lr=0.5)})
    assert run._group_key(one) == run._group_key(probe)
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"suite": "t"},
        {"recipe": one.recipe.model_copy(update={"weight_decay": 0.5})},
        {"backbone": one.backbone.model_copy(update={"image_size": 96})},
        {"dataset": one.dataset.model_copy(update={"fraction": 0.5})},
    ]
    for change in others:
        assert run._group_key(one.model_copy(update=change)) != run._group_key(one), change
