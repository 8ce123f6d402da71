"""Clips whose paths repeat under train/ and val/: whose frames are served, and which clips are skipped."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_process import use_one_process
from publishers import config, touch, write
from video_files import write_file

from petl_bench.data import Clip, VideoData, dataset_state, open_data
from petl_bench.data.check import Job, Probe, check_clips
from petl_bench.data.listed import Listed, SplitFiles
from petl_bench.data.prepare import Prepared, Wanted, prepare_clips
from petl_bench.data.prepared import open_clip, open_prepared, prepared_text
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import DatasetConfig
from petl_bench.datasets_table import prepare_summary
from petl_bench.errors import UserError

SIZE, DATE = 6000, 1_700_000_000  # of every file: neither tells one from another
RED, BLUE = (200, 20, 20), (20, 20, 200)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    use_one_process(monkeypatch)


def _clip(path: Path, colour: tuple[int, int, int]) -> None:
    frames = np.broadcast_to(np.uint8(colour), (3, 32, 32, 3)).copy()
    write_file(path, frames, preset="ultrafast")
    rest = SIZE - path.stat().st_size
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", rest, b"free") + bytes(rest - 8))
    os.utime(path, (DATE, DATE))


def _kinetics(root: Path, test_numbers: tuple[int, ...] = (1, 2), folders: str = "") -> DatasetConfig:
    """Training clips are red, test clips are blue; their paths in the lists are alike where numbers are."""
    for split, colour, numbers in (("train", RED, (1, 2)), ("val", BLUE, test_numbers)):
        names = [f"{c}/{n}.mp4" for c in "ab" for n in numbers]
        for name in names:
            _clip(root / folders / split / name, colour)
        write(root / f"{split}.txt", "".join(f"{name} {'ab'.index(name[0])}\n" for name in names))
    return config("kinetics", root, 2)


def _prepare(settings: DatasetConfig, root: Path, listed: Listed | None = None) -> Prepared:
    place = root / "prepared" / "mine"
    return prepare_clips(settings, listed or list_clips(settings), root, place, Wanted(), jobs=1, timeout=60)


def _older(listed: Listed) -> Listed:
    """As versions listed them that knew clips by their ids alone."""

    def plain(files: SplitFiles) -> SplitFiles:
        return SplitFiles(
            *(tuple(replace(c, file="") for c in part) for part in (files.clips, files.missing))
        )

    return replace(listed, train=plain(listed.train), test=plain(listed.test))


def _read(data: VideoData) -> dict[tuple[str, str], tuple[str, bool]]:
    """(split, id) -> the colour that training sees, and whether it is a prepared frame."""
    cache, found = open_prepared(data), {}
    for manifest in (data.train, data.test):
        for clip in manifest.clips:
            with open_clip(clip, "pyav", cache) as video:
                red, _, blue = video.frames([0])[0].mean((0, 1))
                found[manifest.split, clip.id] = ("red" if red > blue else "blue", video.name == "prepared")
    return found


def _expected(numbers: tuple[int, ...] = (1, 2), prepared: bool = True) -> dict[tuple[str, str], Any]:
    train = {("train", f"{c}/{n}.mp4"): ("red", prepared) for c in "ab" for n in (1, 2)}
    return train | {("test", f"{c}/{n}.mp4"): ("blue", prepared) for c in "ab" for n in numbers}


def test_prepared_frames_are_those_of_the_clip(tmp_path: Path) -> None:
    settings = _kinetics(tmp_path)
    assert _prepare(settings, tmp_path).made == 8
    assert _read(open_data(settings, 0)) == _expected()
    assert _prepare(settings, tmp_path).made == 0
    assert "8 of 8 clips" in prepared_text(open_data(settings, 0), open_prepared(open_data(settings, 0)))


def test_an_older_cache_is_not_served_where_its_ids_fit_two_files(tmp_path: Path) -> None:
    settings = _kinetics(tmp_path)
    listed = list_clips(settings)
    assert _prepare(settings, tmp_path, _older(listed)).made == 4  # of each id the clip that came last
    data = open_data(settings, 0)
    assert _read(data) == _expected(prepared=False)
    text = prepared_text(data, open_prepared(data))
    assert "0 of 8 clips" in text and "4 ids that two files have" in text and "datasets prepare mine" in text
    done = _prepare(settings, tmp_path)
    assert (done.made, done.unclear) == (8, 4)
    assert any(
        "2 files" in line or "two files" in line for line in map(str, prepare_summary(done, "").renderables)
    )
    assert _read(data) == _expected()


def test_an_id_of_a_missing_clip_counts_too(tmp_path: Path) -> None:
    """The frames may be those of a clip whose file has gone since."""
    settings = _kinetics(tmp_path)
    _prepare(settings, tmp_path, _older(list_clips(settings)))
    for name in ("a/1", "b/1"):
        (tmp_path / "val" / f"{name}.mp4").unlink()
    assert not any(prepared for _, prepared in _read(open_data(settings, 0)).values())


def test_an_older_cache_is_used_where_each_id_fits_one_file(tmp_path: Path) -> None:
    settings = _kinetics(tmp_path, test_numbers=(3, 4))
    older = _older(list_clips(settings))
    _prepare(settings, tmp_path, older)
    data = open_data(settings, 0)
    as_before = replace(
        data,
        train=replace(data.train, clips=older.train.clips),
        test=replace(data.test, clips=older.test.clips),
        shared_ids=frozenset(),
    )
    before, now = open_prepared(as_before), open_prepared(data)
    assert (
        before is not None and now is not None and before.sha256 == now.sha256
    )  # runs that were stopped go on
    assert _read(data) == _expected((3, 4))
    done = _prepare(settings, tmp_path)
    assert (done.made, done.unclear, done.card.clips) == (0, 0, 8)
    lines = (tmp_path / "prepared" / "mine" / "clips.jsonl").read_text().splitlines()[1:]
    assert {json.loads(line)["id"] for line in lines} == {
        f"{split}/{c}/{n}.mp4"
        for split, numbers in (("train", (1, 2)), ("val", (3, 4)))
        for c in "ab"
        for n in numbers
    }
    again = open_prepared(data)
    assert _read(data) == _expected((3, 4)) and again is not None and again.sha256 == now.sha256


def test_one_published_id_with_two_files_is_decoded(tmp_path: Path) -> None:
    """A publisher's id is the same clip in both splits, but the files need not be."""
    for split, colour in (("train", RED), ("val", BLUE)):
        for name in ("x_000000_000010", f"{split}_000000_000010"):
            _clip(tmp_path / split / f"{name}.mp4", colour)
        write(tmp_path / f"{split}.csv", "label,youtube_id,time_start,time_end\n"
              f"a,x,0,10\nb,{split},0,10\n")  # fmt: skip
    settings = config("kinetics", tmp_path, 2)
    _prepare(settings, tmp_path)
    found = _read(open_data(settings, 0))
    assert found["train", "x_000000_000010"] == ("red", False)
    assert found["test", "x_000000_000010"] == ("blue", False)
    assert found["train", "train_000000_000010"] == ("red", True)
    assert "1 clip in both splits (x_000000_000010)" in open_data(settings, 0).notice


def test_videos_elsewhere_are_found_after_they_moved(tmp_path: Path) -> None:
    """Outside the folder of the data set names say which field a file is below, not where that is."""
    root = tmp_path / "root"
    _kinetics(root)
    read = []
    for place in (tmp_path / "disk", tmp_path / "fast" / "disk"):
        place.mkdir(parents=True)
        for split in ("train", "val"):
            source = root / split if (root / split).exists() else tmp_path / "disk" / split
            source.rename(place / split)
        source = {"train_videos": str(place / "train"), "test_videos": str(place / "val")}
        settings = config("kinetics", root, 2, source=source)
        read.append(_prepare(settings, root).made)
        assert _read(open_data(settings, 0)) == _expected()
        names = [clip.name for clip in open_data(settings, 0).test.clips]
        assert names == [f"test_videos:{c}/{n}.mp4" for c in "ab" for n in (1, 2)]
    assert read == [8, 0]


def text_probe(job: Job) -> Probe:
    """For clips that are text files."""
    return Probe(frames=1) if job.clip.path.read_text() == "fine" else Probe(reason="no video")


def _texts(root: Path, test_numbers: tuple[int, ...] = (1, 2)) -> DatasetConfig:
    """train/a/1 and val/b/2 are broken, of the size that the others have."""
    for split, numbers in (("train", (1, 2)), ("val", test_numbers)):
        names = [f"{c}/{n}.mp4" for c in "ab" for n in numbers]
        for name in names:
            bad = f"{split}/{name[:3]}" in ("train/a/1", f"val/b/{numbers[-1]}")
            write(root / split / name, "torn" if bad else "fine")
        write(root / f"{split}.txt", "".join(f"{name} {'ab'.index(name[0])}\n" for name in names))
    return config("kinetics", root, 2)


def _ids(settings: DatasetConfig) -> tuple[list[str], list[str]]:
    data = open_data(settings, 0)
    return [c.id[:3] for c in data.train.clips], [c.id[:3] for c in data.test.clips]


def test_a_broken_clip_is_skipped_in_its_own_split(tmp_path: Path) -> None:
    settings = _texts(tmp_path)
    report = check_clips(settings, list_clips(settings), tmp_path, jobs=1, timeout=20, probe=text_probe)
    assert _ids(settings) == (["a/2", "b/1", "b/2"], ["a/1", "a/2", "b/1"])
    assert set(json.loads(report.skip_file.read_text())["clips"]) == {"train/a/1.mp4", "val/b/2.mp4"}
    assert dataset_state(settings).state.endswith(", 2 skipped")


def test_an_older_skip_list_where_ids_fit_two_files(tmp_path: Path) -> None:
    settings = _texts(tmp_path)
    older = _older(list_clips(settings))
    check_clips(settings, older, tmp_path, jobs=1, timeout=20, probe=text_probe)
    data = open_data(settings, 0)
    assert (len(data.train.clips), len(data.test.clips)) == (4, 4)  # neither of the two that it may mean
    assert "2 entries of the skip list" in data.notice and "datasets check mine" in data.notice
    report = check_clips(settings, list_clips(settings), tmp_path, jobs=1, timeout=20, probe=text_probe)
    assert set(json.loads(report.skip_file.read_text())["clips"]) == {"train/a/1.mp4", "val/b/2.mp4"}
    assert "skip list" not in open_data(settings, 0).notice
    assert _ids(settings) == (["a/2", "b/1", "b/2"], ["a/1", "a/2", "b/1"])


def test_an_older_skip_list_where_each_id_fits_one_file(tmp_path: Path) -> None:
    settings = _texts(tmp_path, test_numbers=(3, 4))
    older = _older(list_clips(settings))
    file = check_clips(settings, older, tmp_path, jobs=1, timeout=20, probe=text_probe).skip_file
    assert set(json.loads(file.read_text())["clips"]) == {"a/1.mp4", "b/4.mp4"}
    assert _ids(settings) == (["a/2", "b/1", "b/2"], ["a/3", "a/4", "b/3"])
    assert "skip list" not in open_data(settings, 0).notice


def test_hashes_and_held_out_clips_go_by_ids_as_before(tmp_path: Path) -> None:
    """Names are for caches and skip lists alone: runs of older versions stay comparable."""
    data = open_data(_texts(tmp_path), 0.5)
    for manifest in (data.train, data.validation, data.test):
        lines = "".join(f"{clip.label}\t{clip.id}\n" for clip in manifest.clips)
        assert manifest.sha256 == hashlib.sha256(lines.encode()).hexdigest()
        assert {clip.id[1:2] for clip in manifest.clips} == {"/"}  # relative to train/ and to val/
    for clip in data.validation.clips:
        others = [f"{clip.id[0]}/{n}.mp4" for n in (1, 2)]
        assert clip.id == min(others, key=lambda name: hashlib.sha256(f"validation {name}".encode()).digest())


def test_two_files_of_a_split_never_share_an_id(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "a.mp4", tmp_path / "a.mp4", tmp_path / "b.mp4")
    write(tmp_path / "train.txt", f"a.mp4 0\n{tmp_path}/a.mp4 0\n")
    write(tmp_path / "test.txt", "b.mp4 1\n")
    with pytest.raises(UserError, match=r"train\.txt, line 2: .*two files, but both are called a\.mp4"):
        open_data(config("list", tmp_path, 2, source={"videos": "v"}), 0)
    folders = tmp_path / "folders"
    touch(
        *(
            folders / name
            for name in ("train/a/\u00fc.mp4", "train/a/u\u0308.mp4", "train/b/1.mp4", "test/a/1.mp4")
        )
    )
    if len(os.listdir(folders / "train" / "a")) == 2:  # not on disks that compose names
        with pytest.raises(UserError, match="one name, but for how its accents are written"):
            open_data(config("folders", folders, 2), 0)


def test_a_clip_without_a_file_name_of_its_own_goes_by_its_id() -> None:
    assert Clip(Path("x.mp4"), 0, "x").name == "x"
    assert Clip(Path("x.mp4"), 0, "x", file="train/x.mp4").name == "train/x.mp4"
