"""Nothing piles up: open files and threads over the clips that are read, tensors over the steps that are trained."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from video_files import barred_frames, write_file

from petl_bench.backbone import load_backbone
from petl_bench.config import RunConfig
from petl_bench.data import open_data
from petl_bench.data.decode import DecodeError, open_video
from petl_bench.suite import Request, expand
from petl_bench.train.lockstep import READ_EVERY, Lockstep
from petl_bench.train.trainee import Trainee

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at /proc")


def handles() -> tuple[int, int]:
    """(open files, threads) of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


@linux
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_open_files_and_threads_are_constant(decoder: str, tmp_path: Path) -> None:
    good = write_file(tmp_path / "good.mp4", barred_frames(8), g="4")
    half = tmp_path / "half.mp4"
    half.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    paths = (good, half, empty, tmp_path / "missing.mp4")
    failed: set[Path] = set()

    def read() -> None:
        for path in paths:
            try:
                with open_video(path, decoder) as video:
                    video.frames([1, 6])
            except DecodeError:
                failed.add(path)
        with pytest.raises(DecodeError, match="in the block"), open_video(good, decoder):
            raise ValueError("in the block")

    read()  # libraries open what they keep
    before = handles()
    for _ in range(40):
        read()
    assert handles() == before
    assert failed == {*paths[1:]}


def small_lockstep(out: Path) -> Lockstep:
    changes = ["dataset.source.train_clips=16", "dataset.source.test_clips=16", "recipe.validation=0"]
    changes += ["recipe.batch_size=2", "recipe.epochs=50", "dataset.sampling.frames=2"]
    configs: list[RunConfig] = expand(Request("demo", ["linear_probe", "st_adapter"], changes=changes))
    data = open_data(configs[0].dataset, 0)
    return Lockstep(configs, out, data, load_backbone(configs[0].backbone))


def tensors() -> tuple[int, int]:
    """(how many there are, bytes of their storages), of the whole process."""
    gc.collect()
    # not those without numbers, which other tests' compilers hold
    found = [
        x
        for x in gc.get_objects()
        if type(x) in (torch.Tensor, torch.nn.Parameter) and x.device.type == "cpu"
    ]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found}
    return len(found), sum(storages.values())


def sizes(lockstep: Lockstep) -> dict[str, int]:
    """Lengths of all lists of the loop, its clocks and its members; but for the lines of the log, which are meant to
    grow, and the times of the last 500 steps."""
    owners = {"lockstep": lockstep, "prefix": lockstep.prefix, "augment": lockstep.augment}
    for t in lockstep.trainees:
        owners |= {t.label: t, f"{t.label} clock": t.clock, f"{t.label} spent": t.spent}
    return {
        f"{owner}.{name}": len(value)
        for owner, thing in owners.items()
        for name, value in vars(thing).items()
        if isinstance(value, (list, set, dict)) and name not in ("_lines", "steps_ms")
    }


def test_no_tensor_and_no_list_grows_with_the_steps(tmp_path: Path) -> None:
    lockstep = small_lockstep(tmp_path)
    batches = lockstep._batches(0)

    def train(steps: int) -> None:
        for _ in range(steps):
            at, batch = next(batches)
            lockstep._step(at, batch)
            if (at + 1) % READ_EVERY == 0:
                lockstep._read(line=True)

    train(2 * READ_EVERY)
    before = tensors(), sizes(lockstep)
    train(10 * READ_EVERY)
    assert (tensors(), sizes(lockstep)) == before


def test_times_of_steps_are_kept_for_the_last_500_alone(tmp_path: Path) -> None:
    lockstep = small_lockstep(tmp_path)
    t: Trainee = lockstep.trainees[0]
    for _ in range(60):
        for _ in range(10):
            with t.clock.lap():
                pass
        t.read(lockstep.steps_per_epoch, 0.0, line=False)
    assert len(t.spent.steps_ms) == 500
    assert not t.clock.read()
