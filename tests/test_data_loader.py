"""Batches: the same whatever the workers and the history; equal to the plain way; sound with broken files."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv
from video_files import all_frames, numbered_frames, write_file

from petl_bench.data import Batch, Clip, Loader, Manifest, TimeOrder, open_data
from petl_bench.data.augment import train_view
from petl_bench.data.loader import CLIP, generator
from petl_bench.data.sampling import train_indices, view_indices
from petl_bench.dataset_config import Augment, DatasetConfig, ListSource, Sampling, SynthSource, Views

SIZE = 32
SHAPES = [(48, 64, 24), (64, 48, 24), (40, 40, 9), (32, 32, 24), (48, 80, 3)]  # height, width, frames


def _config(**fields: Any) -> DatasetConfig:
    defaults: dict[str, Any] = {"augment": Augment(flip=True), "sampling": Sampling(frames=4)}
    source = ListSource(kind="list")
    return DatasetConfig(name="x", summary="", classes=3, source=source, **{**defaults, **fields})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("videos")
    clips = []
    for i in range(11):
        height, width, length = SHAPES[i % len(SHAPES)]
        file = folder / f"{i}.mp4"
        write_file(
            file, numbered_frames(length, height, width, seed=i), g="1" if i % 2 else "12", preset="ultrafast"
        )
        clips.append(Clip(file, i % 3, str(i)))
    return Manifest("train", tuple(clips))


@pytest.fixture(scope="module")
def damaged(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Clips 2, 5 and 6 are cut off, garbage and gone."""
    folder = tmp_path_factory.mktemp("damaged")
    clips = list(manifest.clips)
    whole = clips[2].path.read_bytes()
    for i, content in ((2, whole[: len(whole) // 2]), (5, b"\x00\x01garbage" * 500), (6, None)):
        path = folder / f"{i}.mp4"
        if content is not None:
            path.write_bytes(content)
        clips[i] = Clip(path, clips[i].label, f"broken-{i}")
    return Manifest("train", tuple(clips))


def _loader(manifest: Manifest, config: DatasetConfig | None = None, **options: Any) -> Loader:
    defaults: dict[str, Any] = {"size": SIZE, "batch_size": 3, "seed": 7, "train": True, "workers": 0}
    return Loader(manifest, config or _config(), **{**defaults, **options})


def _assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.clips, b.clips)
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.indices, b.indices)
        assert a.unreadable == b.unreadable


def test_workers_start_and_history_change_nothing(damaged: Manifest) -> None:
    """Batch k of epoch e, bit for bit: in one go, resumed in the middle, after an abandoned epoch, by any
    number of processes, broken files and all."""
    for train in (True, False):
        reference = {e: list(_loader(damaged, train=train).epoch(e)) for e in (0, 1)}
        for workers in (0, 2):
            loader = _loader(damaged, train=train, workers=workers)
            _assert_same(list(loader.epoch(1, start=2)), reference[1][2:])
            abandoned = loader.epoch(0)
            next(abandoned)
            _assert_same(list(loader.epoch(1)), reference[1])
            _assert_same(list(loader.epoch(0, start=1)), reference[0][1:])
            assert list(loader.epoch(0, start=len(loader))) == []
            loader.close()
        assert not multiprocessing.active_children()


def test_training_batches_against_the_plain_way(manifest: Manifest) -> None:
    """Every frame decoded, then those of the draw taken, then the augmentation of the draw."""
    config = _config()
    for decoder in ("decord", "pyav"):
        for batch in _loader(manifest, config, decoder=decoder).epoch(3):
            assert batch.clips.dtype == torch.uint8 and batch.clips.shape == (3, 4, 3, SIZE, SIZE)
            for clip, label, index in zip(batch.clips, batch.labels, batch.indices.tolist(), strict=True):
                frames = torch.from_numpy(all_frames(manifest.clips[index].path)).permute(0, 3, 1, 2)
                rng = generator(CLIP, 7, 3, index)
                chosen = frames[train_indices(len(frames), config.sampling, rng)]
                assert torch.equal(clip, train_view(chosen, config.augment, SIZE, rng))
                assert label == manifest.clips[index].label


@pytest.mark.parametrize(
    "sampling", [Sampling(frames=4), Sampling(frames=4, mode="dense", stride=2)], ids=str
)
def test_test_batches_against_the_plain_way(sampling: Sampling, manifest: Manifest) -> None:
    """View t x 3 + s shows the frames of temporal view t in spatial crop s."""
    config = _config(sampling=sampling, views=Views(temporal=2, spatial=3))
    loader = _loader(manifest, config, train=False)
    batches = list(loader.epoch(0))
    assert torch.cat([b.indices for b in batches]).tolist() == list(range(11))
    assert [len(b.labels) for b in batches] == [3, 3, 3, 2] and len(loader) == 4
    clips = torch.cat([b.clips for b in batches])
    assert clips.shape == (11, 6, 4, 3, SIZE, SIZE)
    for index, clip in enumerate(manifest.clips):
        frames = torch.from_numpy(all_frames(clip.path)).permute(0, 3, 1, 2)
        for t, wanted in enumerate(view_indices(len(frames), sampling, 2)):
            resized = tv.resize(frames[wanted], [SIZE], antialias=True)
            height, width = resized.shape[-2:]
            for s, share in enumerate((0, 0.5, 1)):
                top, left = int((height - SIZE) * share), int((width - SIZE) * share)
                expected = resized[..., top : top + SIZE, left : left + SIZE]
                assert torch.equal(clips[index, t * 3 + s], expected)


def test_the_device_makes_the_batches_that_workers_make(damaged: Manifest) -> None:
    """Bit for bit, in training and tests, in every order of time, by any number of processes: batches of mixed
    sizes, short videos that repeat frames, and files that cannot be read."""
    config = _config(
        augment=Augment(flip=True, randaugment="rand-m7-n4-mstd0.5-inc1"),
        interpolation="bicubic",
        views=Views(temporal=2, spatial=3),
    )
    orders: tuple[TimeOrder, ...] = ("kept", "reversed", "shuffled")
    for train, order in ((True, "kept"), *((False, order) for order in orders)):
        options: dict[str, Any] = {"train": train, "time_order": order}
        for workers in (0, 2) if order == "kept" else (0,):
            theirs = _loader(damaged, config, **options).epoch(1)
            loader = _loader(damaged, config, workers=workers, augment_on="device", **options)
            ours = list(loader.epoch(1))
            assert len({size for b in ours for size in b.clips.sizes}) > 2
            assert any(b.unreadable for b in ours)
            done = []
            for batch in ours:
                clips, labels = batch.to_device(torch.device("cpu"))
                assert torch.equal(labels, batch.labels)
                done.append(replace(batch, clips=clips))
            _assert_same(done, list(theirs))
            loader.close()


def test_every_epoch_and_seed_has_its_own_order_and_draws(manifest: Manifest) -> None:
    loader = _loader(manifest)
    orders = [tuple(loader.order(e)) for e in range(4)] + [tuple(_loader(manifest, seed=8).order(0))]
    assert len(set(orders)) == 5
    assert all(sorted(order) == list(range(11)) for order in orders)
    same_clip = [
        {
            int(i): c
            for b in _loader(manifest, seed=s).epoch(e)
            for i, c in zip(b.indices, b.clips, strict=True)
        }
        for s, e in ((7, 0), (7, 1), (8, 0))
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        common = same_clip[a].keys() & same_clip[b].keys()
        assert len(common) > 3
        assert not any(torch.equal(same_clip[a][i], same_clip[b][i]) for i in common)


def test_incomplete_batches(manifest: Manifest) -> None:
    for train, size, expected in (
        (True, 3, [3, 3, 3]),
        (True, 11, [11]),
        (True, 20, [11]),  # the only one is kept
        (False, 20, [11]),
        (False, 4, [4, 4, 3]),
    ):
        loader = _loader(manifest, train=train, batch_size=size)
        assert len(loader) == len(expected)
        assert [len(b.labels) for b in loader.epoch(0)] == expected
    assert len(_loader(Manifest("validation", ()))) == 0
    assert list(_loader(Manifest("validation", ())).epoch(0)) == []


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_broken_files_are_left_out_and_named(decoder: str, damaged: Manifest, manifest: Manifest) -> None:
    batches = list(_loader(damaged, train=False, decoder=decoder).epoch(0))
    assert [b.unreadable for b in batches] == [("broken-2",), ("broken-5",), ("broken-6",), ()]
    assert [b.indices.tolist() for b in batches] == [[0, 1], [3, 4], [7, 8], [9, 10]]
    assert [b.labels.tolist() for b in batches] == [[0, 1], [0, 1], [1, 2], [0, 1]]
    whole = {
        i: c
        for b in _loader(manifest, train=False).epoch(0)
        for i, c in zip(b.indices.tolist(), b.clips, strict=True)
    }
    for batch in batches:
        for i, clip in zip(batch.indices.tolist(), batch.clips, strict=True):
            assert torch.equal(clip, whole[i])
    (alone,) = _loader(Manifest("test", (damaged.clips[5],)), train=False, decoder=decoder).epoch(0)
    assert alone.clips.shape == (0, 1, 4, 3, SIZE, SIZE) and alone.labels.shape == (0,)
    assert alone.unreadable == ("broken-5",)


def test_orders_of_time(manifest: Manifest) -> None:
    config = _config(sampling=Sampling(frames=6), views=Views(temporal=2, spatial=3))
    for train in (True, False):
        kept, turned, mixed, again = (
            torch.cat([b.clips for b in _loader(manifest, config, train=train, time_order=order).epoch(0)])
            for order in ("kept", "reversed", "shuffled", "shuffled")
        )
        assert torch.equal(turned, kept.flip(-4))
        assert torch.equal(mixed, again)
        flat_kept, flat_mixed = (x.reshape(-1, 6, 3 * SIZE * SIZE) for x in (kept, mixed))
        moved = 0
        for a, b in zip(flat_kept, flat_mixed, strict=True):
            assert Counter(f.numpy().tobytes() for f in a) == Counter(f.numpy().tobytes() for f in b)
            moved += not torch.equal(a, b)
        assert moved > 0.9 * len(flat_kept)


def test_twins_of_the_rendered_test_split_are_reversed_to_the_bit(tmp_path: Path) -> None:
    """Through files, decoder, sampler and resizing: the 50 % ceiling of order-blind methods is exact."""
    source = SynthSource(kind="synth", task="motion", train_clips=2, test_clips=8)
    config = DatasetConfig(
        name="m",
        summary="",
        classes=16,
        source=source,
        root=str(tmp_path),
        views=Views(temporal=2, spatial=3),
    )
    data = open_data(config, 0)
    (batch,) = _loader(data.test, config, train=False, batch_size=8).epoch(0)
    pairs = {*data.pairs, *((b, a) for a, b in data.pairs)}
    for i in range(0, 8, 2):
        assert (int(batch.labels[i]), int(batch.labels[i + 1])) in pairs
        mirrored = (
            batch.clips[i + 1].flip(1).reshape(2, 3, 8, 3, SIZE, SIZE).flip(0)
        )  # temporal views swap too
        assert torch.equal(batch.clips[i].reshape(mirrored.shape), mirrored)


def test_nothing_global_is_touched(manifest: Manifest) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = (
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_num_threads(),
    )
    for workers in (0, 1):
        loader = _loader(manifest, workers=workers)
        list(loader.epoch(0))
        loader.close()
    after = (
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_num_threads(),
    )
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_workers_stay_for_all_epochs_and_end_with_close(manifest: Manifest) -> None:
    loader = _loader(manifest, workers=2)
    list(loader.epoch(0))
    first = {p.pid for p in multiprocessing.active_children()}
    list(loader.epoch(1))
    assert {p.pid for p in multiprocessing.active_children()} == first and len(first) == 2
    running = loader.epoch(2)
    next(running)
    newer = loader.epoch(3)
    with pytest.raises(RuntimeError, match="ended by a newer one"):
        next(running)
    assert len(list(newer)) == 3
    last = loader.epoch(4)
    next(last)
    loader.close()
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError, match=r"close\(\)"):
        next(last)
    loader.close()


def test_an_exception_of_the_consumer_ends_the_workers(manifest: Manifest) -> None:
    def consume() -> None:
        for _ in _loader(manifest, workers=2).epoch(0):
            raise KeyError("of the consumer")

    with pytest.raises(KeyError):
        consume()
    end = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


SCRIPT = """
import multiprocessing, signal, sys, time
from pathlib import Path
from petl_bench.dataset_config import DatasetConfig, ListSource
from petl_bench.data import Clip, Loader, Manifest
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what started the tests may ignore it
    config = DatasetConfig(name="x", summary="", classes=2, source=ListSource(kind="list"))
    manifest = Manifest("train", tuple(Clip(Path(sys.argv[1]), 0, str(i)) for i in range(4)))
    loader = Loader(manifest, config, size=32, batch_size=2, seed=0, train=True, workers=2)
    for epoch in range(10**6):
        for batch in loader.epoch(epoch):
            if epoch == 2:
                print(*(p.pid for p in multiprocessing.active_children()), flush=True)
"""


@pytest.fixture
def running(manifest: Manifest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process that loads for ever, past its first epochs."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(manifest.clips[0].path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with the workers that it may have left
    process.communicate()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_process(how: signal.Signals, running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    pids = [int(pid) for pid in running.stdout.readline().split()]
    assert len(pids) == 2 and all(_alive(pid) for pid in pids)
    if how is signal.SIGINT:
        os.killpg(running.pid, how)  # as a terminal does: to every process
        _, error = running.communicate(timeout=120)
        assert error.count("Traceback") == 1 and error.rstrip().endswith("KeyboardInterrupt")
    else:
        running.kill()
    end = time.monotonic() + 60
    while any(_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)
