"""Classes without clips, clips in both splits, files that are left out: told by `datasets add`, `check` and `run`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import av
import pytest
from one_process import use_one_process
from publishers import config, epic, touch, write
from typer.testing import CliRunner
from video_files import numbered_frames, write_file

from petl_bench.cli_datasets import app
from petl_bench.data import open_data
from petl_bench.data.custom import describe
from petl_bench.data.left_out import is_video_content
from petl_bench.data.sources import list_clips
from petl_bench.display import Display
from petl_bench.errors import UserError
from petl_bench.suite import Request, expand
from petl_bench.train.run import Options, _open_all


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PETL_BENCH_DATA", str(folder))
    monkeypatch.setenv("COLUMNS", "400")
    use_one_process(monkeypatch)
    return folder


def _petl(*args: str) -> list[str]:
    done = CliRunner().invoke(app, list(args))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output.splitlines()


def _lists(root: Path) -> Path:
    """Six classes: 0 and 1 in both splits, 2 without training, 3 without test, 4 without a file, 5 without a line."""
    touch(*(root / f"{clip}.mp4" for clip in "abcdefg"))
    write(root / "train.txt", "a.mp4 0\nb.mp4 1\nb.mp4 1\nc.mp4 3\nnone.mp4 4\n")
    write(root / "test.txt", "d.mp4 0\ne.mp4 2\nb.mp4 1\nnone.mp4 4\n")
    return root


LINES = [
    "1 of 5 classes with test clips but no training clip, so never learnt: 2",
    "1 of 5 classes with training clips but no test clip: 3",
    "1 of 5 classes with neither training nor test clips: 4",
    "2 clips in the training and in the test split: b.mp4, none.mp4",
    "1 clip more than once in one split: b.mp4",
]
NOTICE = (
    "1 of 5 classes with test clips but no training clip, so never learnt (2); 1 of 5 classes with training clips but "
    "no test clip (3); 1 of 5 classes with neither training nor test clips (4); 2 clips in both splits (b.mp4, "
    "none.mp4)"
)


def test_add_check_and_run_tell_the_same(home: Path, tmp_path: Path) -> None:
    root = _lists(tmp_path)
    for clip in "abcde":
        write_file(root / f"{clip}.mp4", numbered_frames(3, seed=ord(clip)), preset="ultrafast")
    added = _petl("add", "mine", "--root", str(root))
    checked = _petl("check", "mine", "--jobs", "1", "-q")
    for told in (added, checked):
        assert [line for line in told if " of 5 classes" in line or "split:" in line] == LINES

    class Said(Display):
        lines: list[str] = []  # noqa: RUF012

        def say(self, text: str) -> None:
            self.lines.append(text)

    runs = expand(Request(None, ["linear_probe"], ["mine"]))
    _open_all(runs, Options(display=Said()), lambda: None)  # type: ignore[arg-type]
    assert Said.lines == [f"mine: {NOTICE}"]


def test_nothing_is_said_where_nothing_is_amiss(home: Path, tmp_path: Path) -> None:
    touch(*(tmp_path / split / c / f"{i}.mp4" for split in ("train", "test") for c in "ab" for i in range(3)))
    assert len(_petl("add", "mine", "--root", str(tmp_path))) == 6
    assert open_data(config("folders", tmp_path, 2), 0.3).notice == ""


def test_a_class_that_is_skipped_whole_is_told(home: Path, tmp_path: Path) -> None:
    for name in ("train/a/1", "train/a/2", "test/a/1", "test/b/1"):
        write_file(tmp_path / f"{name}.mp4", numbered_frames(3), preset="ultrafast")
    write(tmp_path / "train/b/1.mp4", "no video")
    assert not any("never learnt" in line for line in _petl("add", "mine", "--root", str(tmp_path)))
    assert any("never learnt: b" in line for line in _petl("check", "mine", "--jobs", "1", "-q"))
    assert "never learnt (b)" in open_data(config("folders", tmp_path, 2), 0).notice


def test_a_clip_that_is_listed_twice_is_not_held_out_of_its_class(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{i}.mp4" for i in range(6)))
    write(tmp_path / "train.txt", "0.mp4 0\n0.mp4 0\n1.mp4 1\n2.mp4 1\n2.mp4 1\n")
    write(tmp_path / "test.txt", "4.mp4 0\n5.mp4 1\n")
    data = open_data(config("list", tmp_path, 2), 0.6)
    assert data.notice == "" and {clip.id for clip in data.train.clips if clip.label == 0} == {"0.mp4"}
    assert {clip.id for clip in data.train.clips if clip.label == 1} in ({"1.mp4"}, {"2.mp4"})


def test_clips_that_are_held_out_teach_nothing(tmp_path: Path) -> None:
    """Of the three clips of class a, the two that are left to train on have no file."""
    touch(*(tmp_path / f"{i}.mp4" for i in range(10, 14)))
    write(tmp_path / "train.txt", "".join(f"{i}.mp4 {i >= 10:d}\n" for i in (1, 2, 3, 10, 11)))
    write(tmp_path / "test.txt", "12.mp4 0\n13.mp4 1\n")
    settings = config("list", tmp_path, 2)
    touch(*(tmp_path / f"{i}.mp4" for i in (1, 2, 3)))
    (held,) = (clip for clip in open_data(settings, 0.1).validation.clips if clip.label == 0)
    for clip in open_data(settings, 0.1).train.clips:
        if clip.label == 0:
            clip.path.unlink()
    assert held.path.exists() and "never learnt (0)" in open_data(settings, 0.1).notice


def test_each_head_has_its_classes(tmp_path: Path) -> None:
    """Verbs 0 and 1 of 3 and nouns 0, 1 of 4 are trained, verb 2 and nouns 1 and 3 are tested."""
    epic(tmp_path, {
        "train": [("P01_01", "00:00:00.50", "00:00:01.00", 0, 1), ("P01_01", "00:00:01.00", "00:00:02.00", 1, 0)],
        "validation": [("P02_01", "00:00:00.00", "00:00:00.50", 2, 1), ("P02_01", "00:00:01.00", "00:00:02.00", 1, 3)],
    })  # fmt: skip
    touch(*(tmp_path / "EPIC-KITCHENS" / f"P0{i}" / "videos" / f"P0{i}_01.MP4" for i in (1, 2)))
    data = open_data(config("epic", tmp_path, 12, heads={"verb": 3, "noun": 4}), 0)
    assert data.notice.split("; ") == [
        "1 of 3 verb classes with test clips but no training clip, so never learnt (wash)",
        "1 of 3 verb classes with training clips but no test clip (take)",
        "1 of 4 noun classes with test clips but no training clip, so never learnt (cupboard)",
        "1 of 4 noun classes with training clips but no test clip (tap)",
        "1 of 4 noun classes with neither training nor test clips (plate)",
    ]


def test_two_labels_in_a_publishers_file_are_told(tmp_path: Path) -> None:
    head = "label,youtube_id,time_start,time_end\n"
    write(tmp_path / "train.csv", head + "run,x,0,10\nwalk,x,0,10\nrun,y,0,10\n")
    write(tmp_path / "val.csv", head + "walk,z,0,10\nrun,w,0,10\n")
    touch(*(tmp_path / "videos" / f"{name}.mp4" for name in "xyzw"))
    assert open_data(config("kinetics", tmp_path, 2), 0).notice == "1 clip with two labels"


# --- files of class folders


def _left(root: Path, classes: int = 2) -> dict[str, tuple[int, str]]:
    found = list_clips(config("folders", root, classes))
    return {left.reason: (left.count, left.example) for left in found.left_out}


def _two_classes(root: Path) -> Path:
    touch(*(root / split / c / "1.mp4" for split in ("train", "test") for c in "ab"))
    return root


CONTAINERS = [
    "mp4",
    "mov",
    "avi",
    "mkv",
    "webm",
    "flv",
    "wmv",
    "mpg",
    "ts",
    "mxf",
    "ogv",
    "3gp",
    "m2ts",
    "vob",
]
CODECS = {"webm": "libvpx", "wmv": "wmv2", "flv": "flv1", "mpg": "mpeg1video", "mxf": "mpeg2video", "ogv": "libtheora",
          "vob": "mpeg2video"}  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
def test_video_content_is_seen_under_any_name(container: str, tmp_path: Path) -> None:
    codec = CODECS.get(container, "mpeg4")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    _two_classes(tmp_path)
    file = tmp_path / f"x.{container}"
    with av.open(str(file), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for image in numbered_frames(12, 96, 128):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    assert is_video_content(file)
    file.rename(tmp_path / "train" / "a" / "x.divx")
    assert _left(tmp_path) == {"video content, but the ending .divx": (1, "train/a/x.divx")}
    (tmp_path / "train" / "a" / "x.divx").rename(tmp_path / "train" / "a" / "take 7")
    assert _left(tmp_path) == {"video content, but no ending": (1, "train/a/take 7")}


def test_other_files_are_no_videos(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    for name, content in (("notes", b"text"), ("empty.dat", b""), ("x.bin", bytes(500)), ("G.dat", b"G" + bytes(500)),
                          ("a.jpg", b"\xff\xd8\xff"), ("l.srt", b"1"),
                          ("r.wavx", b"RIFF\x00\x00\x00\x00WAVE")):  # fmt: skip
        (tmp_path / "train" / "a" / name).write_bytes(content)
    assert _left(tmp_path) == {}


def test_hidden_and_system_files_are_no_clips(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    touch(
        tmp_path / "train/a/._1.mp4", tmp_path / "train/b/._1.mp4", tmp_path / "test/a/._1.MP4",
        tmp_path / "train/a/.draft.mp4", tmp_path / "train/loose.mp4", tmp_path / "train/._loose.mp4",
        tmp_path / "train/.thumbnails/1.mp4", tmp_path / "train/.thumbnails/x/2.mp4",
        tmp_path / "train/__MACOSX/a/1.mp4", tmp_path / "train/a/.trash/5.mp4", tmp_path / "test/@eaDir/1.mp4",
        tmp_path / "train/.DS_Store", tmp_path / "train/a/.DS_Store", tmp_path / "train/.git/config",
    )  # fmt: skip
    (tmp_path / "train" / "empty").mkdir()
    found = describe("x", tmp_path, {})
    assert (found.classes, found.listed.class_names) == (2, ("a", "b"))
    assert [clip.id for clip in found.listed.train.clips] == ["train/a/1.mp4", "train/b/1.mp4"]
    assert _left(tmp_path) == {
        "beginning with ._, which macOS writes beside copied files": (4, "train/._loose.mp4"),
        "in the hidden folder .thumbnails": (2, "train/.thumbnails/1.mp4"),
        "in the hidden folder __MACOSX": (1, "train/__MACOSX/a/1.mp4"),
        "in the hidden folder .trash": (1, "train/a/.trash/5.mp4"),
        "in the hidden folder @eaDir": (1, "test/@eaDir/1.mp4"),
        "hidden: its name begins with a dot": (1, "train/a/.draft.mp4"),
        "not in the folder of a class": (1, "train/loose.mp4"),
        "no video in it": (1, "train/empty"),
    }
    assert "11 files left out; 1 folder left out" in open_data(config("folders", tmp_path, 2), 0).notice


@pytest.mark.parametrize(
    ("one", "other"), [("Run", "run"), ("play guitar", "Play_Guitar"), ("take01", "take1")]
)
def test_a_class_folder_spelt_in_two_ways(one: str, other: str, tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in (f"train/{one}/1.mp4", "train/b/1.mp4", f"test/{other}/1.mp4")))
    if len({p.parent.name for p in tmp_path.glob("*/*/1.mp4")}) < 3:
        pytest.skip("a disk without upper and lower case")
    with pytest.raises(
        UserError, match=re.escape(f"{tmp_path}/test/{other}: the class {other!r} is written {one!r}")
    ):
        describe("x", tmp_path, {})
    with pytest.raises(UserError, match=f"the class {other!r} is written {one!r}"):
        open_data(config("folders", tmp_path, 3), 0)


def test_a_link_to_a_folder_above_is_walked_once(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    os.symlink(tmp_path / "train" / "a", tmp_path / "train" / "a" / "again")
    assert [clip.id for clip in list_clips(config("folders", tmp_path, 2)).train.clips] == [
        "train/a/1.mp4",
        "train/b/1.mp4",
    ]


def test_copies_and_links_of_training_clips_are_told(home: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("train/a/1", "train/b/1", "train/b/2", "test/a/1", "test/b/1")):
        write_file(tmp_path / f"{name}.mp4", numbered_frames(3, seed=number), preset="ultrafast")
    content = (tmp_path / "train/a/1.mp4").read_bytes()
    write(tmp_path / "test/a/9.mp4", "").write_bytes(content)
    (tmp_path / "test/a/8.mp4").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    os.symlink(tmp_path / "train/b/2.mp4", tmp_path / "test/b/7.mp4")
    told = "2 clips of the test split with the content of a training clip: train/a/1.mp4 = test/a/9.mp4, "
    told += "train/b/2.mp4 = test/b/7.mp4"
    assert told in _petl("add", "mine", "--root", str(tmp_path))
    assert told in _petl("check", "mine", "--jobs", "1", "-q")
