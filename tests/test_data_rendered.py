"""Rendered data sets: files exact under reversal, made once, safe to kill, to interrupt and to share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import all_frames, numbered_frames

from petl_bench import synth
from petl_bench.data import dataset_state, open_data, rendered
from petl_bench.data.decode import open_video
from petl_bench.data.encode import write_video
from petl_bench.data.rendered import Rendering, rendered_clips
from petl_bench.dataset_config import DatasetConfig, SynthSource
from petl_bench.errors import UserError

# many clips, so that rendering takes seconds; small ones, so that it takes few
SCRIPT = """
import signal, sys
from pathlib import Path
from petl_bench.dataset_config import SynthSource
from petl_bench.data.rendered import rendered_clips
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what started the tests may ignore it
    source = SynthSource(kind="synth", task="motion", train_clips=int(sys.argv[2]), test_clips=4, size=32, length=8)
    clips = rendered_clips(source, Path(sys.argv[1]), lambda done, total, text: print(done, total, text, flush=True))
    print("complete", len(clips["train"]), flush=True)
"""


def _source(train: int, test: int = 2, size: int = 32) -> SynthSource:
    return SynthSource(kind="synth", task="motion", train_clips=train, test_clips=test, size=size, length=8)


@pytest.mark.parametrize("task", ["motion", "appearance"])
def test_a_reversed_video_decodes_to_the_reversed_frames(task: synth.video.Task, tmp_path: Path) -> None:
    for index in range(3):
        frames, _ = synth.render_video(task, "train", index, size=64, length=24, seed=0)
        write_video(tmp_path / "kept.mp4", frames)
        write_video(tmp_path / "reversed.mp4", frames[::-1])
        kept, turned = all_frames(tmp_path / "kept.mp4"), all_frames(tmp_path / "reversed.mp4")
        assert np.array_equal(kept[::-1], turned)
        error = np.square(kept.astype(float) - frames).mean()
        assert 10 * np.log10(255**2 / error) > 30  # dB: what is drawn is what is read
        for decoder in ("decord", "pyav"):
            with (
                open_video(tmp_path / "kept.mp4", decoder) as a,
                open_video(tmp_path / "reversed.mp4", decoder) as b,
            ):
                assert np.array_equal(a.frames(range(1, 24, 3)), b.frames(range(22, 0, -3)))


def test_the_same_frames_make_the_same_bytes_and_no_scraps(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, numbered_frames(8))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with pytest.raises(av.error.FFmpegError):
        write_video(tmp_path / "c.mp4", numbered_frames(2, 33, 33))
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


def test_clips_and_labels_are_those_of_the_renderer(tmp_path: Path) -> None:
    clips = rendered_clips(_source(5), tmp_path, None)
    assert [len(clips[split]) for split in ("train", "test")] == [5, 2]
    for split in clips:
        for index, clip in enumerate(clips[split]):
            frames, label = synth.render_video("motion", split, index, size=32, length=8, seed=0)
            assert clip.label == label
            version = synth.RENDERER_VERSION
            assert clip.id == f"motion-v{version}-seed0-32px-8f/{split}/{index:06d}"
            assert clip.path == tmp_path / f"{clip.id}.mp4"
            assert np.abs(all_frames(clip.path).astype(int) - frames).mean() < 6


def test_only_what_is_missing_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[tuple[str, int]] = []
    real = synth.render_video

    def counting(task: str, split: str, index: int, **rest: int) -> object:
        rendered.append((split, index))
        return real(task, split, index, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(synth, "render_video", counting)

    def newly(source: SynthSource) -> set[tuple[str, int]]:
        rendered.clear()
        rendered_clips(source, tmp_path, None)
        return set(rendered)

    first = {("train", i) for i in range(4)} | {("test", 0), ("test", 1)}
    assert newly(_source(4)) == first
    assert newly(_source(4)) == set()
    assert newly(_source(6)) == {("train", 4), ("train", 5)}
    assert newly(_source(3)) == set()
    assert newly(_source(6, size=48)) != set()  # another rendering, another folder
    folder = Rendering(_source(6), tmp_path).folder
    (folder / "train" / "000002.mp4").unlink()
    (folder / "test" / "000001.mp4").write_bytes(b"")
    assert newly(_source(6)) == {("train", 2), ("test", 1)}
    labels = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(labels)[:40])  # torn
    assert len(newly(_source(6))) == 8
    (folder / "labels.json").write_text(json.dumps({**labels, "encoding": "older"}))
    assert len(newly(_source(6))) == 8
    assert newly(_source(6)) == set()


def test_state_and_opening(tmp_path: Path) -> None:
    config = DatasetConfig(name="m", summary="", classes=16, source=_source(24, 4), root=str(tmp_path))
    assert dataset_state(config) == ("will be rendered on first use (~1 MB)", 28, tmp_path)
    assert not list(tmp_path.iterdir())  # looking makes nothing
    seen: list[tuple[int, int]] = []
    data = open_data(config, 0.25, lambda done, total, text: seen.append((done, total)))
    assert seen[-1] == (28, 28) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert dataset_state(config).state == "ready"
    assert data.class_names == tuple(synth.class_names("motion")) and data.pairs == tuple(
        synth.pairs("motion")
    )
    assert len(data.train.clips) + len(data.validation.clips) == 24
    data.train.clips[0].path.unlink()
    assert dataset_state(config).state == "1 of 28 clips will be rendered on first use (~1 MB)"


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be rendered to .*file/motion-v.*PETL_BENCH_DATA"):
        rendered_clips(_source(1), tmp_path / "file", None)
    with pytest.raises(UserError, match="even size"):
        rendered_clips(_source(1, size=33), tmp_path, None)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Starts a real process that renders into `tmp_path/data`."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "script.py").write_text(SCRIPT)

    def begin(train: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "data"), str(train)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it may have left
        process.communicate()


def _children(process: subprocess.Popen[str]) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _assert_whole(folder: Path, count: int) -> None:
    """Every clip decodes, nothing else lies about, and the labels are the renderer's."""
    files = sorted((folder / "train").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.mp4" for i in range(count)]
    for file in files:
        assert all_frames(file).shape == (8, 32, 32, 3)
    labels = json.loads((folder / "labels.json").read_text())["train"]
    for i in range(0, count, 40):
        assert labels[str(i)] == synth.render_video("motion", "train", i, size=32, length=8, seed=0)[1]


def test_a_second_process_waits_and_takes_over_from_a_killed_one(
    start: Callable[[int], subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 160
    monkeypatch.setattr(rendered, "ALONE", 1000)  # this process takes over without others of its own
    folder = Rendering(_source(count, 4), tmp_path / "data").folder
    other = start(count)
    _wait(lambda: len(list(folder.glob("train/*.mp4"))) > 20)
    children: list[int] = []
    texts: list[str] = []

    def progress(done: int, total: int, text: str) -> None:
        if not texts:
            children.extend(_children(other))
            os.kill(other.pid, signal.SIGKILL)  # midway: its processes are rendering
            other.wait()
        texts.append(text.split()[0])

    clips = rendered_clips(_source(count, 4), tmp_path / "data", progress)
    assert texts[0] == "waiting" and texts[-1] == "rendering"
    assert len(children) >= 2 and not any(_running(pid) for pid in children)
    assert len(clips["train"]) == count
    _assert_whole(folder, count)


def test_a_second_process_uses_what_the_first_one_made(
    start: Callable[[int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    other = start(60)
    folder = Rendering(_source(60, 4), tmp_path / "data").folder
    _wait((folder / "train" / "000000.mp4").exists)
    os.kill(other.pid, signal.SIGSTOP)  # else it may be done before this process looks
    texts: list[str] = []

    def progress(done: int, total: int, text: str) -> None:
        os.kill(other.pid, signal.SIGCONT)
        texts.append(text.split()[0])

    rendered_clips(_source(60, 4), tmp_path / "data", progress)
    assert set(texts) == {"waiting"}
    out, error = other.communicate(timeout=60)
    assert out.endswith("complete 60\n"), error
    _assert_whole(folder, 60)


def test_ctrl_c_ends_it_and_keeps_what_is_made(
    start: Callable[[int], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start(2000)
    assert process.stdout is not None
    process.stdout.readline()
    children = _children(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    _, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert error.count("Traceback") == 1 and error.rstrip().endswith("KeyboardInterrupt")
    _wait(lambda: not any(_running(pid) for pid in children), 60)
    rendering = Rendering(_source(2000), tmp_path / "data")
    noted = rendering.read_labels()
    assert 0 < len(noted) < 2000
    assert len(rendering.missing(noted)) == 2002 - len([p for p in noted if p[0] == "train"])
    assert not list(rendering.folder.glob("*/.*.tmp"))
