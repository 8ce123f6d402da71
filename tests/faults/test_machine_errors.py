"""Errors of the machine are tried again and then end the command with what is done kept; no clip is left out for them.

/proc/self/mem opens and fails with EIO when its first byte is read: a real one, for FFmpeg and for Python.
"""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from publishers import config as dataset_config
from safetensors.torch import load_file
from video_files import numbered_frames, write_file

from petl_bench import machine
from petl_bench.config import RunConfig
from petl_bench.data import Loader, open_data
from petl_bench.data import loader as loading
from petl_bench.data.blame import DecodeError
from petl_bench.data.check import check_clips, report_file
from petl_bench.data.decode import open_video
from petl_bench.data.isolated import run_isolated
from petl_bench.data.prepare import Wanted, prepare_clips
from petl_bench.data.skips import skip_file
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import DatasetConfig
from petl_bench.machine import PAUSES, MachineError, is_of_machine, tried_again
from petl_bench.results import RunFolder, write_atomic
from petl_bench.train.run import Options, run_all
from petl_bench.train.trainee import Trainee

MakeRuns = Callable[..., list[RunConfig]]
# of the issue, and some that disks, file servers and limits give; and those that only say something of the file
OF_MACHINE = "EIO ESTALE EMFILE ENFILE EACCES ENOMEM ETIMEDOUT ENOSPC ENOTCONN EROFS EAGAIN".split()  # noqa: SIM905
OF_FILE = "ENOENT ENOTDIR EISDIR EINVAL ELOOP ENAMETOOLONG".split()  # noqa: SIM905
needs_proc = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted, not waited for; not so in other processes."""
    waited: list[float] = []
    monkeypatch.setattr(machine.time, "sleep", waited.append)
    return waited


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("train/a/1", "train/a/2", "train/b/1", "train/b/2", "test/a/1", "test/b/1"):
        write_file(root / f"{name}.mp4", numbered_frames(8, 32, 32), preset="ultrafast")
    return root


def dataset(root: Path) -> DatasetConfig:
    return dataset_config("folders", root, 2, sampling={"frames": 2})


def a_loader(root: Path, workers: int = 0) -> Loader:
    config = dataset(root)
    data = open_data(config, 0)
    return Loader(
        data.train, config, size=16, batch_size=2, seed=0, train=False, workers=workers, decoder="pyav"
    )


class Failing:
    """Stands in for a function; raises an error at some of its calls."""

    def __init__(self, function: Callable[..., Any], error: BaseException, calls: range) -> None:
        self.function, self.error, self.calls, self.made = function, error, calls, 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.made += 1
        if self.made - 1 in self.calls:
            raise self.error
        return self.function(*args, **more)


def os_error(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number), "/data/x.mp4")


def fail_opening(monkeypatch: pytest.MonkeyPatch, error: BaseException, calls: range) -> Failing:
    import av

    failing = Failing(av.open, error, calls)
    monkeypatch.setattr(av, "open", failing)
    return failing


@pytest.mark.parametrize("name", OF_MACHINE)
def test_an_error_of_the_machine_that_stays(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    failing = fail_opening(monkeypatch, os_error(name), range(10**6))
    with pytest.raises(MachineError, match=rf"1.mp4: .*{name}.*tried again 3 times") as caught:
        list(a_loader(folder).epoch(0))
    assert caught.value.errno == getattr(errno, name)
    assert failing.made == 4 and no_pauses == list(PAUSES)


@pytest.mark.parametrize("calls", [range(1), range(3), range(2, 5)])
def test_an_error_of_the_machine_that_passes_changes_nothing(
    calls: range, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = list(a_loader(folder).epoch(0))
    fail_opening(monkeypatch, os_error("ESTALE"), calls)
    rough = list(a_loader(folder).epoch(0))
    assert [b.unreadable for b in rough] == [(), ()]
    for a, b in zip(calm, rough, strict=True):
        assert torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("name", OF_FILE)
def test_an_error_of_the_file_is_a_broken_clip(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    fail_opening(monkeypatch, os_error(name), range(2))  # a clip is tried twice
    batches = list(a_loader(folder).epoch(0))
    assert [b.unreadable for b in batches] == [("train/a/1.mp4",), ()]
    assert not no_pauses


@pytest.mark.parametrize("where", ["open", "decode", "transform"])
def test_memory_that_runs_out(where: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from petl_bench.data.decode_pyav import PyavDecoder

    error = MemoryError("Unable to allocate 3.1 GiB")
    if where == "open":
        fail_opening(monkeypatch, error, range(10**6))
    elif where == "decode":
        monkeypatch.setattr(PyavDecoder, "frames", Failing(PyavDecoder.frames, error, range(10**6)))
    else:
        monkeypatch.setattr(loading, "spatial_views", Failing(loading.spatial_views, error, range(10**6)))
    with pytest.raises(MachineError) as caught:
        list(a_loader(folder).epoch(0))
    assert caught.value.errno == errno.ENOMEM


def test_a_read_that_fails_for_a_moment_is_no_broken_clip(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg gives the same number for a disk's error and for broken content: the file is read, and decoded again."""
    import av

    error = av.error.OSError(errno.EIO, "Input/output error", "x.mp4")
    fail_opening(monkeypatch, error, range(1))
    assert [b.unreadable for b in a_loader(folder).epoch(0)] == [(), ()]
    fail_opening(monkeypatch, error, range(2))  # so whole files that FFmpeg cannot read are broken
    assert [b.unreadable for b in a_loader(folder).epoch(0)] == [("train/a/1.mp4",), ()]


@pytest.mark.parametrize("left", [True, False])
def test_memory_that_ffmpeg_does_not_get(left: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken header asks for more than there is anywhere; a machine without memory has not even a gigabyte."""
    import av

    from petl_bench.data import blame

    monkeypatch.setattr(blame, "_memory_left", lambda: left)
    fail_opening(monkeypatch, av.error.OSError(errno.ENOMEM, "Cannot allocate memory", "x.mp4"), range(10**6))
    if left:
        assert [len(b.unreadable) for b in a_loader(folder).epoch(0)] == [2, 2]
        return
    with pytest.raises(MachineError, match="ENOMEM"):
        list(a_loader(folder).epoch(0))


def test_a_worker_that_is_killed(folder: Path) -> None:
    config = dataset(folder)
    options = {"size": 16, "batch_size": 1, "seed": 0, "train": False, "workers": 1, "decoder": "pyav"}
    loader = Loader(open_data(config, 0).train, config, **options)  # type: ignore[arg-type]
    batches = loader.epoch(0)
    next(batches)
    assert loader._workers is not None
    for worker in loader._workers._iterator._workers:  # type: ignore[union-attr]
        worker.kill()
    with pytest.raises(
        MachineError, match=r"the processes that read clips|a process that reads clips is gone"
    ):
        list(batches)
    loader.close()


@needs_proc
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_file_that_the_disk_does_not_give(decoder: str, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.symlink_to("/proc/self/mem")
    what = pytest.raises(MachineError, match=r"clip.mp4: Input/output error \(EIO\)")
    with what as caught, open_video(file, decoder) as video:
        video.frames([0])
    assert caught.value.errno == errno.EIO
    file.unlink()
    with pytest.raises(DecodeError), open_video(file, decoder):
        pass


def broken_disk(folder: Path) -> str:
    clip = folder / "train/b/2.mp4"
    clip.unlink()
    clip.symlink_to("/proc/self/mem")
    return str(clip)


@needs_proc
def test_the_number_comes_out_of_a_worker(folder: Path) -> None:
    clip = broken_disk(folder)
    loader = a_loader(folder, workers=1)
    try:
        with pytest.raises(MachineError, match=r"2.mp4: Input/output error \(EIO\)") as caught:
            list(loader.epoch(0))
    finally:
        loader.close()
    assert caught.value.errno == errno.EIO and clip in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.errno) == (str(caught.value), errno.EIO)


@needs_proc
def test_a_check_puts_no_clip_on_the_skip_list_for_it(folder: Path) -> None:
    clip = broken_disk(folder)
    (folder / "train/a/1.mp4").write_text("no video")
    config = dataset(folder)
    with pytest.raises(MachineError, match=rf"{clip}: .*EIO.*tried again 3 times") as caught:
        check_clips(config, list_clips(config), folder, jobs=1, timeout=60, decoder="pyav")
    assert caught.value.errno == errno.EIO
    skips = skip_file(config, folder).read_text()
    assert "train/a/1.mp4" in skips and "train/b/2.mp4" not in skips and '"complete": false' in skips
    rows = report_file(skip_file(config, folder), config.name).read_text()
    assert "train/a/2.mp4" in rows and "train/b/2.mp4" not in rows
    write_file(_whole(clip), numbered_frames(8, 32, 32))
    report = check_clips(config, list_clips(config), folder, jobs=1, timeout=60, decoder="pyav")
    assert report.counts == {"ok": 5, "broken": 1}


def _whole(clip: str) -> Path:
    Path(clip).unlink()
    return Path(clip)


@needs_proc
def test_preparing_notes_no_clip_as_broken_for_it(folder: Path, tmp_path: Path) -> None:
    clip = broken_disk(folder)
    config, cache = dataset(folder), tmp_path / "cache"
    arguments = (config, list_clips(config), folder, cache, Wanted())
    with pytest.raises(MachineError, match=rf"{clip}: .*EIO"):
        prepare_clips(*arguments, jobs=1, timeout=60, decoder="pyav")
    assert "broken" not in (cache / "clips.jsonl").read_text()
    write_file(_whole(clip), numbered_frames(8, 32, 32))
    assert prepare_clips(*arguments, jobs=1, timeout=60, decoder="pyav").card.clips == 6


def killed(item: str) -> str:
    if item == "x.mp4":
        os.kill(os.getpid(), 9)  # as a system does that has no memory left
    return item


def test_a_process_that_the_system_kills() -> None:
    outcomes = run_isolated(killed, ["a.mp4", "x.mp4", "b.mp4"], jobs=1, timeout=60)
    assert next(outcomes)[1].value == "a.mp4"
    with pytest.raises(MachineError, match=r"x.mp4: .*SIGKILL \(out of memory\?\).*tried again 3 times"):
        list(outcomes)


@contextmanager
def unreadable_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, name: str) -> Iterator[None]:
    """The first clip of an epoch cannot be read for an error of the machine."""
    read = loading.ClipReader.read

    def broken(self: loading.ClipReader, at: int, index: int) -> Any:
        if self.train and at == epoch:
            raise os_error(name)
        return read(self, at, index)

    with monkeypatch.context() as patch:
        patch.setattr(loading.ClipReader, "read", broken)
        yield


def test_a_run_stops_with_the_checkpoints_of_all_methods_and_goes_on(
    tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = small_runs("linear_probe", "partial")
    run_all(configs, Options(tmp_path / "calm", workers=0))
    options = Options(tmp_path / "rough", workers=0)
    with unreadable_in_epoch(monkeypatch, 1, "EIO"), pytest.raises(MachineError, match="EIO"):
        run_all(configs, options)
    for config in configs:
        folder = RunFolder.of(options.out, config)
        record = folder.read_record()
        assert folder.checkpoint_file.exists()
        assert record is not None and record.status == "running" and record.error is None
    records = run_all(configs, options)
    for config, record in zip(configs, records, strict=True):
        assert record.provenance is not None and record.provenance.sessions == 2
        assert record.provenance.clips["train"].unreadable == 0
        a, b = (load_file(RunFolder.of(tmp_path / p, config).adapter_file) for p in ("calm", "rough"))
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "error", [MemoryError("no memory"), os_error("ENOSPC"), MachineError("x", errno.EIO)]
)
def test_an_error_of_the_machine_is_no_methods(
    error: Exception, tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Met inside a step of one method: none of them fails for it. A method's own error is another matter."""
    configs = small_runs("linear_probe", "partial")
    step = Trainee.train_step

    def broken(self: Trainee, *args: Any) -> None:
        if self.label == "partial" and self.step == 7:
            raise error
        step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainee, "train_step", broken)
        with pytest.raises(MachineError):
            run_all(configs, Options(tmp_path, workers=0))
    for config in configs:
        folder = RunFolder.of(tmp_path, config)
        record = folder.read_record()
        assert record is not None and record.status == "running"
        assert folder.checkpoint_file.exists() and not folder.error_file.exists()


def test_a_full_disk_at_the_end_costs_no_training(
    tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petl_bench.train import scribe

    (config,) = small_runs("linear_probe")

    def full(path: Path, data: str | bytes) -> None:
        raise MachineError(f"{path} cannot be written: No space left on device.", errno.ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr(scribe, "write_atomic", full)
        with pytest.raises(MachineError, match="No space left"):
            run_all([config], Options(tmp_path, workers=0))
    folder = RunFolder.of(tmp_path, config)
    assert folder.checkpoint_file.exists()
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(Trainee, "train_step", lambda self, *args: steps.append(self.step))
        (record,) = run_all([config], Options(tmp_path, workers=0))
    assert record.status == "done" and not steps


def test_which_errors_are_of_the_machine() -> None:
    assert all(is_of_machine(os_error(name)) for name in OF_MACHINE)
    assert not any(is_of_machine(os_error(name)) for name in OF_FILE)
    assert is_of_machine(MemoryError()) and not is_of_machine(ValueError())
    assert not is_of_machine(OSError("image file is truncated"))  # Pillow's, without a number


def test_only_errors_of_the_machine_are_tried_again(no_pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="mine"):
        tried_again(Failing(int, ValueError("mine"), range(1)))
    assert no_pauses == [] and tried_again(Failing(lambda: 5, MachineError("x"), range(3))) == 5
    assert no_pauses == list(PAUSES)


@needs_proc
def test_a_folder_or_a_file_that_cannot_be_listed_is_not_an_empty_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class folder that a file server does not give would leave out its clips without a word."""
    scandir = os.scandir

    def stale(path: Any) -> Any:
        if str(path).endswith("train/b"):
            raise os_error("ESTALE")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", stale)
    with pytest.raises(MachineError, match="ESTALE"):
        open_data(dataset(folder), 0)


def test_what_cannot_be_written_for_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", Failing(os.replace, os_error("EDQUOT"), range(1)))
    with pytest.raises(MachineError, match=r"x.json cannot be written") as caught:
        write_atomic(tmp_path / "x.json", "{}")
    assert caught.value.errno == errno.EDQUOT and not list(tmp_path.iterdir())


@needs_proc
def test_the_command_line_says_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from petl_bench.cli import main

    clip = broken_disk(folder)
    file = folder / "mine.yaml"
    file.write_text(f"summary: x\nclasses: 2\nroot: {folder}\nsource: {{kind: folders}}\n")
    monkeypatch.setattr("sys.argv", ["petl-bench", "datasets", "check", str(file), "--jobs", "1", "-q"])
    with pytest.raises(SystemExit) as ended:
        main()
    err = capsys.readouterr().err
    assert ended.value.code == 75
    assert err.count("\n") == 1 and clip in err and "EIO" in err and "What is done is kept" in err
