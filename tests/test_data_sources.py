"""Data sets in the publishers' layouts: what is read, what is missing, what is held out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from petl_bench.data import Clip, Manifest, data_root, dataset_state, open_data
from petl_bench.data.manifest import hold_out, take_fraction
from petl_bench.data.skips import Checked, Skip, SkipList, write_skips
from petl_bench.dataset_config import DatasetConfig
from petl_bench.errors import UserError

TEMPLATES = ["Moving something up", "Covering something with something", "Opening something"]


def _config(kind: str, root: Path | None, classes: int = 3, **source: Any) -> DatasetConfig:
    return DatasetConfig(
        name="mine",
        summary="",
        classes=classes,
        source={"kind": kind, **source},
        root=None if root is None else str(root),
    )


def _ssv2(root: Path, train: int = 30, test: int = 6) -> Path:
    """The publisher's files; templates carry brackets, labels are text and in another order than the keys."""
    (root / "labels").mkdir(parents=True)
    videos = root / "20bn-something-something-v2"
    videos.mkdir()
    labels = {TEMPLATES[i]: str(i) for i in (2, 0, 1)}
    (root / "labels" / "labels.json").write_text(json.dumps(labels))
    entries = [
        {
            "id": str(1000 + i),
            "label": "opening a box",
            "template": TEMPLATES[i % 3].replace("something", "[something]"),
            "placeholders": ["a box"],
        }
        for i in range(train + test)
    ]
    (root / "labels" / "train.json").write_text(json.dumps(entries[:train]))
    (root / "labels" / "validation.json").write_text(json.dumps(entries[train:]))
    for entry in entries:
        (videos / f"{entry['id']}.webm").write_bytes(b"")
    return root


def test_ssv2_as_published(tmp_path: Path) -> None:
    data = open_data(_config("ssv2", _ssv2(tmp_path)), validation=0)
    assert data.class_names == tuple(TEMPLATES)
    assert data.pairs == ()
    assert [len(m.clips) for m in (data.train, data.validation, data.test)] == [30, 0, 6]
    clip = data.train.clips[4]
    assert clip == Clip(tmp_path / "20bn-something-something-v2" / "1004.webm", 1, "1004")
    assert [c.label for c in data.test.clips] == [0, 1, 2, 0, 1, 2]


def test_lists_with_spaces_and_folders(tmp_path: Path) -> None:
    for name in ("a b/one two.mp4", "c/d 3.mp4", "e.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "train.txt").write_text(
        "a b/one two.mp4 0\n\nc/d 3.mp4 11\nnot there.mp4 1\nno folder/x.mp4 1\n"
    )
    (tmp_path / "val.txt").write_text(f"  {tmp_path}/videos/e.mp4   2  \n")
    data = open_data(_config("list", tmp_path, classes=12, videos="videos"), validation=0)
    assert [(c.id, c.label) for c in data.train.clips] == [("a b/one two.mp4", 0), ("c/d 3.mp4", 11)]
    assert data.train.skipped == 2
    assert data.test.clips[0] == Clip(
        tmp_path / "videos" / "e.mp4", 2, "e.mp4"
    )  # an id holds no machine's path
    assert data.class_names[11] == "11"


def test_missing_clips_are_counted_not_replaced(tmp_path: Path) -> None:
    root = _ssv2(tmp_path)
    for name in (1001, 1005, 1030):
        (root / "20bn-something-something-v2" / f"{name}.webm").unlink()
    data = open_data(_config("ssv2", root), validation=0.2)
    assert (data.train.skipped + data.validation.skipped, data.test.skipped) == (2, 1)
    assert len(data.train.clips) + len(data.validation.clips) == 28
    assert not {"1001", "1005"} & {c.id for c in data.train.clips + data.validation.clips}


@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_what_is_missing_or_skipped_changes_no_other_clips_part(fraction: float, tmp_path: Path) -> None:
    """A machine with every file, and one that lost each seventh and skips each fifth."""
    opened = {}
    for name in ("whole", "rotten"):
        root = _ssv2(tmp_path / name, train=120)
        config = _config("ssv2", root).model_copy(update={"fraction": fraction})
        if name == "rotten":
            videos = root / "20bn-something-something-v2"
            lost = {f"{1000 + i}" for i in range(3, 126, 7)}
            for number in lost:
                (videos / f"{number}.webm").unlink()
            skipped = {f"{1000 + i}" for i in range(0, 120, 5)} - lost
            checked = Checked(sampling=config.sampling, temporal_views=1, decoder="none")
            skip = Skip(state="broken", reason="", bytes=0)
            write_skips(
                config,
                root,
                SkipList(
                    dataset="mine",
                    date="",
                    complete=True,
                    checked=checked,
                    clips=dict.fromkeys(skipped, skip),
                ),
            )
        opened[name] = open_data(config, validation=0.2)
    gone = lost | skipped
    for split in ("train", "validation", "test"):
        whole, rotten = (getattr(opened[name], split) for name in ("whole", "rotten"))
        assert whole.skipped == 0
        assert rotten.skipped == sum(clip.id in gone for clip in whole.clips) > 0
        assert [c.id for c in rotten.clips] == [c.id for c in whole.clips if c.id not in gone]


def test_nothing_left_to_train_on_is_an_error(tmp_path: Path) -> None:
    root = _ssv2(tmp_path)
    part = open_data(_config("ssv2", root).model_copy(update={"fraction": 0.01}), 0.2).train.clips
    for clip in part:  # one of each class
        clip.path.unlink()
    with pytest.raises(UserError, match="None of the 3 clips that are left to train on"):
        open_data(_config("ssv2", root).model_copy(update={"fraction": 0.01}), 0.2)


def test_no_clip_at_all_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    root = _ssv2(tmp_path)
    for file in (root / "20bn-something-something-v2").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"None of the 30 clips of the train split.*1000\.webm"):
        open_data(_config("ssv2", root), validation=0)


def test_absent_data_set_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        open_data(_config("ssv2", root), validation=0)
    text = str(caught.value)
    for part in (
        "labels/labels.json",
        "labels/train.json",
        "labels/validation.json",
        "20bn-something-something-v2",
    ):
        assert f"{root}/{part}  missing" in text
    assert "--set dataset.root=FOLDER" in text and "PETL_BENCH_DATA" in text
    assert "    20bn-something-something-v2/123.webm" in text  # the tree
    state = dataset_state(_config("ssv2", root))
    assert state.state.startswith(f"not found: {root}/") and state.clips is None


def test_a_part_that_is_there_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    root = _ssv2(tmp_path)
    (root / "labels" / "validation.json").unlink()
    with pytest.raises(UserError) as caught:
        open_data(_config("ssv2", root), validation=0)
    assert f"{root}/labels/train.json  found" in str(caught.value)
    assert f"{root}/labels/validation.json  missing" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clip.mp4", "train.txt, line 2: expected `path label`"),
        ("clip.mp4 3", "label of 0..2"),
        ("clip.mp4 -1", "line 2"),
        ("clip.mp4 one", "line 2"),
    ],
)
def test_bad_lines_are_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(f"x.mp4 0\n{line}\n")
    (tmp_path / "val.txt").write_text("x.mp4 0\n")
    with pytest.raises(UserError, match=message):
        open_data(_config("list", tmp_path), validation=0)


def test_bad_ssv2_files_are_named(tmp_path: Path) -> None:
    root = _ssv2(tmp_path)
    with pytest.raises(UserError, match=r"labels\.json: 3 classes, but dataset\.classes is 174"):
        open_data(_config("ssv2", root, classes=174), validation=0)
    (root / "labels" / "train.json").write_text('[{"id": "1", "template": "Eating [something]"}]')
    with pytest.raises(UserError, match=r"train\.json: entry 0 \(id 1\): 'Eating something' is not a class"):
        open_data(_config("ssv2", root), validation=0)
    (root / "labels" / "train.json").write_text('[{"id": "1"}]')
    with pytest.raises(UserError, match=r"train\.json: entry 0: expected"):
        open_data(_config("ssv2", root), validation=0)
    (root / "labels" / "train.json").write_text('[{"id": "1",\n}]')
    with pytest.raises(UserError, match=r"train\.json, line 2: not valid JSON"):
        open_data(_config("ssv2", root), validation=0)


def _manifest(counts: list[int], folder: str = "/data") -> Manifest:
    clips = [
        Clip(Path(folder) / f"{label}-{i}.mp4", label, f"{label}-{i}")
        for label, count in enumerate(counts)
        for i in range(count)
    ]
    return Manifest("train", tuple(clips))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_every_class_gives_its_share(share: float) -> None:
    counts = [100, 10, 3, 2, 1]
    train, validation = hold_out(_manifest(counts), share)
    given = Counter(c.label for c in validation.clips)
    for label, count in enumerate(counts):
        if share == 0 or count == 1:
            assert given[label] == 0
        else:
            assert given[label] == min(count - 1, max(1, round(share * count)))
    assert set(train.clips) | set(validation.clips) == set(_manifest(counts).clips)
    assert not set(train.clips) & set(validation.clips)


def test_held_out_clips_depend_on_ids_alone() -> None:
    """The order of the list, the folder and the other classes change nothing; a larger share adds clips."""
    whole = _manifest([60, 40])
    chosen = {c.id for c in hold_out(whole, 0.2)[1].clips}
    shuffled = Manifest("train", whole.clips[::-1])
    assert {c.id for c in hold_out(shuffled, 0.2)[1].clips} == chosen
    assert {c.id for c in hold_out(_manifest([60, 40], "/elsewhere"), 0.2)[1].clips} == chosen
    first = {c.id for c in hold_out(_manifest([60]), 0.2)[1].clips}
    assert first == {name for name in chosen if name.startswith("0-")}
    assert chosen < {c.id for c in hold_out(whole, 0.4)[1].clips}
    assert chosen != {c.id for c in whole.clips[:12] + whole.clips[60:68]}  # not simply the first ones
    assert sorted(chosen)[:3] == ["0-0", "0-11", "0-13"]  # golden: another choice makes other results


def test_hash_of_a_split_is_of_ids_and_labels() -> None:
    one = _manifest([3, 2])
    assert one.sha256 == _manifest([3, 2], "/elsewhere").sha256
    assert one.sha256 != _manifest([2, 3]).sha256
    assert one.sha256 != Manifest("train", one.clips[::-1]).sha256
    assert one.sha256[:16] == "7fa33fd97a0b6050"


def test_hash_of_a_data_set_follows_its_splits(tmp_path: Path) -> None:
    config = _config("ssv2", _ssv2(tmp_path / "a"))
    moved = _config("ssv2", _ssv2(tmp_path / "b"))
    assert open_data(config, 0.2).sha256 == open_data(moved, 0.2).sha256
    assert open_data(config, 0.2).sha256 != open_data(config, 0.4).sha256
    (tmp_path / "b" / "20bn-something-something-v2" / "1030.webm").unlink()
    assert open_data(config, 0.2).sha256 != open_data(moved, 0.2).sha256


def test_where_data_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETL_BENCH_DATA", str(tmp_path / "all"))
    assert data_root(_config("list", tmp_path / "own")) == tmp_path / "own"
    assert data_root(_config("list", None)) == tmp_path / "all" / "mine"
    monkeypatch.delenv("PETL_BENCH_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert data_root(_config("list", None)) == tmp_path / "share" / "petl-bench" / "mine"


def test_state_of_files_that_are_there(tmp_path: Path) -> None:
    config = _config("ssv2", _ssv2(tmp_path))
    assert dataset_state(config) == ("ready, not checked", 36, tmp_path)
    (tmp_path / "labels" / "train.json").write_text("{")
    assert dataset_state(config).state.startswith("not usable: ")


def _naive_fraction(clips: list[Clip], fraction: float) -> set[str]:
    chosen = set()
    for label in {clip.label for clip in clips}:
        ids = [clip.id for clip in clips if clip.label == label]
        ids.sort(key=lambda name: hashlib.sha256(b"fraction " + name.encode()).hexdigest())
        count = round(len(ids) * fraction)
        chosen.update(ids[: count if count >= 1 else 1])
    return chosen


@pytest.mark.parametrize("fraction", [0.001, 0.05, 0.25, 0.5, 0.9, 1.0])
def test_a_fraction_takes_of_each_class_its_share(fraction: float) -> None:
    whole = _manifest([100, 10, 3, 2, 1])
    part = take_fraction(whole, fraction)
    assert {clip.id for clip in part.clips} == _naive_fraction(list(whole.clips), fraction)
    assert [clip for clip in whole.clips if clip in part.clips] == list(part.clips)  # in their order
    assert (part == whole) == (fraction == 1.0)


def test_fractions_are_nested_and_leave_validation_as_it_is(tmp_path: Path) -> None:
    root = _ssv2(tmp_path, train=120)
    opened = {}
    for fraction in (0.02, 0.1, 0.3, 0.5, 1.0):
        opened[fraction] = open_data(_config("ssv2", root).model_copy(update={"fraction": fraction}), 0.2)
    smaller: set[str] = set()
    for fraction, data in opened.items():
        ids = {clip.id for clip in data.train.clips}
        assert smaller <= ids and len(ids) == 3 * max(1, round(32 * fraction))
        assert data.validation == opened[1.0].validation and data.test == opened[1.0].test
        assert not ids & {clip.id for clip in data.validation.clips}
        smaller = ids
    assert len({data.sha256 for data in opened.values()}) == 5
