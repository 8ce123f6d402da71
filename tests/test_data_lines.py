"""What single lines of annotation files mean: which file, which frames, which class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import publishers
import pytest
import torch
from publishers import config, touch, write
from video_files import numbered_frames, write_file

from petl_bench.data import Loader, VideoData, open_data
from petl_bench.data.finder import Finder, stem
from petl_bench.data.sources import list_clips
from petl_bench.errors import UserError

HEADS = {"heads": {"verb": 3, "noun": 4}}


def _open(config: Any) -> VideoData:
    return open_data(config, validation=0)


def numbers(data: VideoData, train: bool, epoch: int = 0, **options: Any) -> list[list[int]]:
    """Numbers of the frames that each clip of a split is made of, as their brightness tells."""
    manifest = data.train if train else data.test
    loader = Loader(manifest, data.config, size=48, batch_size=1, seed=0, train=train, workers=0, **options)
    out: dict[int, list[int]] = {}
    for batch in loader.epoch(epoch):
        clips, _ = batch.to_device(torch.device("cpu"))
        brightness = (clips.float().mean((-3, -2, -1)).flatten() - 20) / 3
        out[int(batch.indices)] = [round(float(b)) for b in brightness]
    return [out[i] for i in sorted(out)]


# --- EPIC-Kitchens-100


def epic(tmp_path: Path, **rows: list[tuple[str, str, str, int, int]]) -> Any:
    other = [("P09_09", "00:00:00.00", "00:00:01.00", 0, 0)]
    publishers.epic(tmp_path, {"train": other, "validation": other, **rows})
    return config("epic", tmp_path, 12, **HEADS, sampling={"frames": 2})


def test_test_actions_are_read_where_they_are(tmp_path: Path) -> None:
    """12 frames a second: 1.5 to 2.5 s are frames 18 to 29, of which views take the middles of the halves."""
    action = [("P01_01", "00:00:01.50", "00:00:02.50", 1, 2), ("P01_01", "00:00:00.50", "00:00:01.50", 0, 0)]
    made = epic(tmp_path, train=action, validation=action)
    write_file(tmp_path / "videos" / "P01_01.mp4", numbered_frames(36, 48, 48), g="6")
    assert numbers(_open(made), train=False) == [[20, 27], [8, 15]]
    drawn: list[set[int]] = [set(), set()]
    for epoch in range(40):
        for clip, read in enumerate(numbers(_open(made), train=True, epoch=epoch)):
            assert read == sorted(read)
            drawn[clip] |= set(read)
    assert drawn == [
        set(range(18, 30)),
        set(range(6, 18)),
    ]  # every frame of the action is drawn, and no other


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:07.25", 7.25),
        ("00:02:00.00", 120),
        ("01:00:00.00", 3600),
        ("10:11:12.5", 36672.5),
        ("1:2:3", 3723),
    ],
)
def test_times_of_actions(text: str, seconds: float, tmp_path: Path) -> None:
    made = epic(tmp_path, train=[("P01_01", text, "23:59:59.75", 2, 3)])
    (tmp_path / "videos").mkdir()
    (clip,) = list_clips(made).train.missing
    assert (clip.start, clip.stop, clip.label) == (seconds, 86399.75, 2 * 4 + 3)
    assert clip.path == tmp_path / "videos" / "P01" / "videos" / "P01_01.MP4"
    assert clip.id == "P01_01_0"


@pytest.mark.parametrize("place", ["", "P01/", "P01/videos/", "P01_01/", "P01/P01_01/"])
def test_cut_actions_are_whole_files(place: str, tmp_path: Path) -> None:
    made = epic(tmp_path, train=[("P01_01", "00:00:01.00", "00:00:02.00", 0, 1)])
    touch(tmp_path / "videos" / place / "P01_01_0.mp4", tmp_path / "videos" / "P01_01.MP4")
    (clip,) = list_clips(made).train.clips
    assert (clip.path.name, clip.start, clip.stop, clip.label) == ("P01_01_0.mp4", None, None, 1)


def test_verbs_come_before_nouns_whatever_the_order_of_columns(tmp_path: Path) -> None:
    made = epic(
        tmp_path, train=[("P01_01", "00:00:00.00", "00:00:01.00", v, n) for v in range(3) for n in range(4)]
    )
    touch(tmp_path / "videos" / "P01_01.MP4")
    assert [clip.label for clip in list_clips(made).train.clips] == list(range(12))
    with pytest.raises(UserError, match=r"4 classes, but dataset\.heads says 5"):
        _open(made.model_copy(update={"heads": {"noun": 5}}))


def test_absent_actions_say_what_columns_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start_timestamp,stop_timestamp,verb_class,noun_class"):
        _open(config("epic", tmp_path, 12, **HEADS))


# --- Kinetics


def kinetics(root: Path, *rows: tuple[str, str, str, str], split: str = "train") -> None:
    lines = ["label,youtube_id,time_start,time_end,split", *(",".join((*row, split)) for row in rows)]
    write(root / "annotations" / f"{split}.csv", "\n".join(lines) + "\n")
    (root / split).mkdir(exist_ok=True, parents=True)


def found(root: Path, split: str = "train") -> list[tuple[str, int]]:
    files = getattr(list_clips(config("kinetics", root, 2)), "train" if split == "train" else "test")
    return [(str(clip.path.relative_to(root)), clip.label) for clip in files.clips + files.missing]


def test_kinetics_files_in_the_order_of_trust(tmp_path: Path) -> None:
    """A replacement, then the class's folder, then the flat one; in each the whole name, then the id alone."""
    row = ("zumba", "a_b", "7", "17")
    kinetics(tmp_path, row, ("abseiling", "x", "0", "10"))
    kinetics(tmp_path, row, split="val")
    better = "replacement/replacement_for_corrupted_k400"
    candidates = [
        "train/a_b.mp4",
        "train/a_b_000007_000017.mp4",
        "train/zumba/a_b.mp4",
        "train/zumba/a_b_000007_000017.mp4",
        f"{better}/a_b.mp4",
        f"{better}/a_b_000007_000017.mp4",
    ]
    for number, name in enumerate(candidates):  # each beats all before it
        touch(tmp_path / name)
        assert found(tmp_path)[0] == (name, 1), candidates[: number + 1]
    assert found(tmp_path, "val") == [(candidates[-1], 1)]  # of test clips too
    touch(tmp_path / better / "x.mp4")
    assert found(tmp_path)[1] == (f"{better}/x.mp4", 0)


def test_kinetics_names(tmp_path: Path) -> None:
    """Seconds have six digits, cut to whole ones; a clip that is missing is expected in its class's folder."""
    rows = [
        ("zumba", "q", "123456.9", "1234567"),
        ("zumba", "r", "0.0", "9.99"),
        ("abseiling", "s", "5", "15"),
    ]
    kinetics(tmp_path, *rows)
    kinetics(tmp_path, ("abseiling", "t", "1", "2"), split="val")
    (tmp_path / "train" / "zumba").mkdir()
    assert found(tmp_path) == [
        ("train/zumba/q_123456_1234567.mp4", 1),
        ("train/zumba/r_000000_000009.mp4", 1),
        ("train/s_000005_000015.mp4", 0),
    ]
    assert found(tmp_path, "val") == [("val/t_000001_000002.mp4", 0)]
    clips = list_clips(config("kinetics", tmp_path, 2)).train.missing
    assert [clip.id for clip in clips] == ["q_123456_1234567", "r_000000_000009", "s_000005_000015"]


def test_kinetics_tests_do_not_look_among_training_videos(tmp_path: Path) -> None:
    kinetics(tmp_path, ("zumba", "a", "0", "10"), ("abseiling", "b", "0", "10"))
    kinetics(tmp_path, ("zumba", "b", "0", "10"), split="val")
    touch(tmp_path / "train" / "b_000000_000010.mp4", tmp_path / "val" / "a_000000_000010.mp4")
    listed = list_clips(config("kinetics", tmp_path, 2))
    assert [c.id for c in listed.train.clips] == ["b_000000_000010"] and not listed.test.clips


# --- UCF101, HMDB51


@pytest.mark.parametrize("line", ["x Archery", "2", "Archery", "-2 Archery", "2.0 Archery"])
def test_ucf101_classes_have_a_number_and_a_name(line: str, tmp_path: Path) -> None:
    publishers.ucf101(tmp_path)
    write(tmp_path / "ucfTrainTestlist" / "classInd.txt", f"1 Zumba\n{line}\n")
    with pytest.raises(UserError, match=r"classInd\.txt, line 2: expected `number class`, found"):
        _open(config("ucf101", tmp_path, 2))


@pytest.mark.parametrize("split", [1, 2, 3])
def test_ucf101_reads_the_split_that_is_asked_for_and_numbers_from_one(split: int, tmp_path: Path) -> None:
    """Classes keep the publisher's numbers, which need not follow the alphabet or the order of lines."""
    splits = tmp_path / "ucfTrainTestlist"
    write(splits / "classInd.txt", "2 Archery\n3 Biking\n1 Yo Yo\n")
    for n in (1, 2, 3):
        write(splits / f"trainlist0{n}.txt", f"Archery/a{n}.avi 2\nYo Yo/y {n}.avi 1\nBiking/b{n}.avi\n")
        write(splits / f"testlist0{n}.txt", f"Yo Yo/t{n}.avi\nBiking/u{n}.avi 3\n")
    touch(
        tmp_path / "UCF-101" / "Archery" / f"a{split}.avi", tmp_path / "UCF-101" / "Yo Yo" / f"t{split}.mp4"
    )
    made = config("ucf101", tmp_path, 3, source={"split": split})
    listed = list_clips(made)
    assert listed.class_names == ("Yo Yo", "Archery", "Biking")
    videos = tmp_path / "UCF-101"
    assert [(c.path, c.label) for c in listed.train.clips] == [(videos / "Archery" / f"a{split}.avi", 1)]
    assert [(c.path, c.label) for c in listed.train.missing] == [
        (videos / "Yo Yo" / f"y {split}.avi", 0),
        (videos / "Biking" / f"b{split}.avi", 2),
    ]
    assert [(c.path.name, c.label) for c in listed.test.clips] == [(f"t{split}.mp4", 0)]
    assert [(c.path.name, c.label) for c in listed.test.missing] == [(f"u{split}.avi", 2)]


@pytest.mark.parametrize(
    "line", ["Archery/a.avi 1", "Archery/a.avi 0", "Archery/a.avi 3", "Rowing/a.avi", "a.avi 2"]
)
def test_ucf101_lines_that_disagree_with_the_classes(line: str, tmp_path: Path) -> None:
    splits = tmp_path / "ucfTrainTestlist"
    write(splits / "classInd.txt", "2 Archery\n1 Zumba\n")
    write(splits / "testlist01.txt", "Zumba/z.avi\n")
    write(splits / "trainlist01.txt", f"Zumba/z.avi 1\n{line}\n")
    (tmp_path / "UCF-101").mkdir()
    with pytest.raises(UserError, match=r"trainlist01\.txt, line 2: expected `Class/video.avi`"):
        _open(config("ucf101", tmp_path, 2))


@pytest.mark.parametrize("text", ["1 A\n3 B\n", "0 A\n1 B\n", "1 A\n1 B\n", "1 A\n2 B\n3 C\n"])
def test_ucf101_numbers_its_classes_without_gaps(text: str, tmp_path: Path) -> None:
    publishers.ucf101(tmp_path)
    write(tmp_path / "ucfTrainTestlist" / "classInd.txt", text)
    with pytest.raises(UserError, match=r"numbers must be 1\.\.2, each once"):
        _open(config("ucf101", tmp_path, 2))


@pytest.mark.parametrize("split", [1, 2, 3])
def test_hmdb51_flags(split: int, tmp_path: Path) -> None:
    splits = tmp_path / "testTrainMulti_7030_splits"
    for n in (1, 2, 3):
        for name in ("wave", "clap"):
            lines = [
                f"{name}{n}{kind}.avi {flag} " for kind, flag in (("none", 0), ("train", 1), ("test", 2))
            ]
            write(splits / f"{name}_test_split{n}.txt", "\n".join(lines) + "\n")
    touch(tmp_path / "hmdb51_org" / "clap" / f"clap{split}test.avi")
    listed = list_clips(config("hmdb51", tmp_path, 2, source={"split": split}))
    assert listed.class_names == ("clap", "wave")
    assert [(c.id, c.label) for c in listed.train.missing] == [
        (f"clap/clap{split}train.avi", 0),
        (f"wave/wave{split}train.avi", 1),
    ]
    assert [(c.id, c.label) for c in listed.test.clips] == [(f"clap/clap{split}test.avi", 0)]
    assert [c.path for c in listed.test.missing] == [
        tmp_path / "hmdb51_org" / "wave" / f"wave{split}test.avi"
    ]


# --- text lists


def test_lists_look_in_the_folder_of_videos_and_then_in_the_root(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", "a.mp4 0\nb.mp4 1\nclips/c.mp4 2\nd/e.mp4 010\ngone.mp4 0\n")
    write(tmp_path / "test.txt", "a.mp4 00\n")
    touch(*(tmp_path / name for name in ("a.mp4", "clips/a.mp4", "b.mp4", "clips/c.mp4", "clips/d/e.webm")))
    listed = list_clips(config("list", tmp_path, 11, source={"videos": "clips"}))
    assert [(c.path.relative_to(tmp_path).as_posix(), c.label) for c in listed.train.clips] == [
        ("clips/a.mp4", 0),
        ("b.mp4", 1),
        ("clips/c.mp4", 2),
        ("clips/d/e.webm", 10),
    ]
    assert [c.path for c in listed.train.missing] == [tmp_path / "clips" / "gone.mp4"]
    assert [(c.path, c.label) for c in listed.test.clips] == [(tmp_path / "clips" / "a.mp4", 0)]


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("a b 1.mp4 3", "a b 1.mp4", 3),
        ("a, b.mp4,3", "a, b.mp4", 3),
        ("12.mp4\t 2", "12.mp4", 2),
        ("x.mp4, 1", "x.mp4", 1),
        ("deep/er/x.mp4   0", "deep/er/x.mp4", 0),
    ],
)
def test_the_label_follows_the_last_space_or_comma(line: str, path: str, label: int, tmp_path: Path) -> None:
    write(tmp_path / "train.txt", f"{line}\n")
    write(tmp_path / "test.txt", "t.mp4 0\n")
    touch(tmp_path / path)
    (clip,) = list_clips(config("list", tmp_path, 4)).train.clips
    assert (clip.path, clip.label) == (tmp_path / path, label)


@pytest.mark.parametrize("line", ["a.mp4", "a.mp4 -1", "a.mp4 1.5", "a.mp4 b", "7"])
def test_lines_without_a_label(line: str, tmp_path: Path) -> None:
    write(tmp_path / "train.txt", f"\nb.mp4 0\n\n{line}\n")
    write(tmp_path / "test.txt", "t.mp4 0\n")
    with pytest.raises(UserError, match=r"train\.txt, line 4"):
        _open(config("list", tmp_path, 2))


def test_the_columns_of_a_csv_file_count_and_not_their_order(tmp_path: Path) -> None:
    write(
        tmp_path / "all.csv",
        "split,id,label,path,length\ntest,0,1,a.mp4,10\ntrain,1,0,b.mp4,20\nval,2,1,c.mp4,30\ntrain,3,1,d.mp4,5\n",
    )
    touch(*(tmp_path / f"{name}.mp4" for name in "abcd"))
    both = {"train": "all.csv", "test": "all.csv"}
    listed = list_clips(config("list", tmp_path, 2, source=both))
    assert [(c.path.name, c.label) for c in listed.train.clips] == [("b.mp4", 0), ("d.mp4", 1)]
    assert [(c.path.name, c.label) for c in listed.test.clips] == [("a.mp4", 1)]


# --- names of files


def test_files_by_other_endings(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.webm", "a.mp4", "b.avi", "c.txt", "d.v2.MKV", "e")))
    finder = Finder()
    for asked, there in (
        ("a.webm", "a.webm"),
        ("a.mov", "a.mp4"),  # the first in the alphabet
        ("a", "a.mp4"),
        ("b.mp4", "b.avi"),
        ("c.mp4", None),
        ("d.v2.mp4", "d.v2.MKV"),
        ("d.mp4", None),
        ("e", "e"),
    ):
        assert finder.find(tmp_path, asked) == (tmp_path / there if there else None), asked
    assert (stem("a.b.mp4"), stem("a.b"), stem("a.MOV"), stem("mp4")) == ("a.b", "a.b", "a", "mp4")
    assert finder.first([tmp_path / "none", tmp_path], ["z.mp4", "b.mp4"]) == tmp_path / "b.avi"
    assert finder.first([tmp_path], ["z.mp4"]) is None
    assert finder.find(tmp_path / "none", "a.mp4") is None
    assert finder.find(tmp_path, str(tmp_path / "b.avi")) == tmp_path / "b.avi"
    assert finder.find(tmp_path / "x", "../a.webm") == tmp_path / "a.webm"


# --- frames in their order


@pytest.mark.parametrize("augment_on", ["workers", "device"])
def test_frames_of_clips_go_forwards(augment_on: str, tmp_path: Path) -> None:
    write(tmp_path / "train.txt", "a.mp4 0\nb.mp4 1\n")
    write(tmp_path / "test.txt", "a.mp4 0\n")
    for name in "ab":
        write_file(tmp_path / f"{name}.mp4", numbered_frames(32, 48, 48), g="8")
    data = _open(config("list", tmp_path, 2, sampling={"frames": 8}, views={"temporal": 2}))
    for epoch in range(3):
        a, b = numbers(data, train=True, epoch=epoch, augment_on=augment_on)
        for clip in (a, b):
            assert clip == sorted(clip) and [i // 4 for i in clip] == list(range(8))  # a frame of each part
        assert a != b
    (test,) = numbers(data, train=False, augment_on=augment_on)
    assert test[:8] == sorted(test[:8]) and test[8:] == sorted(test[8:])
    assert sorted(test) == sorted({*test}) and [i // 2 for i in sorted(test)] == list(range(16))
    assert test[:8] == sorted(test)[::2]  # the first view takes the first of each two parts
    (backwards,) = numbers(data, train=False, augment_on=augment_on, time_order="reversed")
    assert backwards == [*test[:8][::-1], *test[8:][::-1]]
