"""Each publisher's own files, read and compared with what plain loops over them say."""

from __future__ import annotations

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import publishers
import pytest
from publishers import config, touch, write
from video_files import numbered_frames, write_file

from petl_bench.config import packaged_names
from petl_bench.data import Loader, VideoData, open_data
from petl_bench.data.finder import Finder
from petl_bench.dataset_config import DatasetConfig
from petl_bench.errors import UserError
from petl_bench.suite import load_dataset


def _open(config: DatasetConfig) -> VideoData:
    return open_data(config, validation=0)


def _rows(clips: Any) -> list[tuple[str, int]]:
    return [(clip.id, clip.label) for clip in clips.clips]


# --- Something-Something-v2


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("labels/", ("labels.json", "train.json", "validation.json")),
        ("", ("something-something-v2-labels.json", "something-something-v2-train.json",
              "something-something-v2-validation.json")),
    ],
)  # fmt: skip
def test_ssv2_under_both_names(folder: str, names: tuple[str, str, str], tmp_path: Path) -> None:
    templates = {"Holding [something]": 1, "Pushing [something] from left to right": 0}
    labels = {name.replace("[", "").replace("]", ""): str(number) for name, number in templates.items()}
    write(tmp_path / folder / names[0], json.dumps(labels))
    items = [
        {"id": str(70 + i), "label": "holding a box", "template": t, "placeholders": ["a box"]}
        for i, t in enumerate([*templates] * 3)
    ]
    write(tmp_path / folder / names[1], json.dumps(items[:4]))
    write(tmp_path / folder / names[2], json.dumps(items[4:]))
    for number, item in enumerate(items):
        touch(tmp_path / "20bn-something-something-v2" / f"{item['id']}.{('webm', 'mp4')[number % 2]}")
    data = _open(config("ssv2", tmp_path, 2))
    expected = [(item["id"], templates[str(item["template"])]) for item in items]
    assert _rows(data.train) + _rows(data.test) == expected
    assert data.class_names == ("Pushing something from left to right", "Holding something")
    assert [clip.path.suffix for clip in data.train.clips] == [".webm", ".mp4", ".webm", ".mp4"]


def test_ssv2_by_a_peers_list(tmp_path: Path) -> None:
    write(tmp_path / "labels.json", '{"Holding something": "0", "Opening something": "1"}')
    write(tmp_path / "train.txt", "20bn-something-something-v2/7.webm 1\n8.webm 0\n9.webm 1\n")
    write(tmp_path / "val.txt", "7.webm 1\n")
    touch(*(tmp_path / "20bn-something-something-v2" / f"{i}.webm" for i in (7, 8)))
    data = _open(config("ssv2", tmp_path, 2))
    assert [clip.label for clip in data.train.clips] == [1, 0] and data.train.skipped == 1
    assert data.class_names[1] == "Opening something"


# --- Kinetics

IDS = ["---QUuC4vJs", "_a-B_c d", "3yaoNwz99xM", "0Zz_", "zz", "Q q"]
CLASSES = ["passing American football (in game)", "abseiling", "massaging person's head", "zumba"]


def _kinetics(root: Path, split: str, count: int, first: int) -> list[dict[str, str]]:
    rows = [
        {"label": CLASSES[(first + i) % 4], "youtube_id": f"{IDS[(first + i) % 6]}{first + i}",
         "time_start": str(i), "time_end": str(i + 10), "split": split, "is_cc": "0"}
        for i in range(count)
    ]  # fmt: skip
    file = write(root / "annotations" / f"{split}.csv", "")
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.mark.parametrize("layout", ["flat", "by class", "underscores", "no times"])
def test_kinetics_in_every_layout(layout: str, tmp_path: Path) -> None:
    rows = {
        split: _kinetics(tmp_path, split, count, first)
        for split, count, first in (("train", 17, 0), ("val", 6, 30))
    }
    order = sorted(CLASSES)
    expected: dict[str, list[tuple[str, int]]] = {"train": [], "val": []}
    for split, members in rows.items():
        for number, row in enumerate(members):
            name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
            if number % 5 == 4:
                continue  # link rot
            expected[split].append((name, order.index(row["label"])))
            folder = tmp_path / split
            if layout == "by class":
                folder /= row["label"]
            elif layout == "underscores":  # as a widespread tool names them
                folder /= row["label"].replace(" ", "_").replace("(", "").replace(")", "").replace("'", "_")
            stem = row["youtube_id"] if layout == "no times" else name
            touch(folder / f"{stem}.{'MP4' if number % 2 else 'mp4'}")
    data = _open(config("kinetics", tmp_path, 4))
    assert data.class_names == tuple(order)
    assert (_rows(data.train), _rows(data.test)) == (expected["train"], expected["val"])
    assert (data.train.skipped, data.test.skipped) == (3, 1)
    assert all(clip.path.is_file() for clip in data.train.clips)


def test_kinetics_replacements_come_first(tmp_path: Path) -> None:
    rows = _kinetics(tmp_path, "train", 4, 0)
    _kinetics(tmp_path, "val", 4, 0)
    names = [f"{row['youtube_id']}_{i:06d}_{i + 10:06d}.mp4" for i, row in enumerate(rows)]
    touch(*(tmp_path / split / name for name in names for split in ("train", "val")))
    better = tmp_path / "replacement" / "replacement_for_corrupted_k400"
    touch(better / names[2])
    folders = [clip.path.parent for clip in _open(config("kinetics", tmp_path, 4)).train.clips]
    assert folders == [tmp_path / "train", tmp_path / "train", better, tmp_path / "train"]


def test_kinetics_by_lists(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", "train/zumba/a b.mp4 3\nabseiling/-x.mp4,0\n")
    write(tmp_path / "val.txt", f"{tmp_path}/val/y.mp4 1\n")
    touch(tmp_path / "train/zumba/a b.mp4", tmp_path / "train/abseiling/-x.mp4", tmp_path / "val/y.mp4")
    data = _open(config("kinetics", tmp_path, 4))
    assert [clip.label for clip in data.train.clips] == [3, 0] and data.test.clips[0].label == 1
    _kinetics(tmp_path, "val", 4, 0)
    with pytest.raises(UserError, match="one is a Kinetics CSV, the other a text list"):
        _open(config("kinetics", tmp_path, 4))


# --- EPIC-Kitchens-100

EPIC = {"heads": {"verb": 3, "noun": 4}}
ROWS = {
    "train": [("P01_01", "00:00:00.50", "00:00:01.00", 2, 3), ("P01_01", "00:00:01.00", "00:00:02.00", 0, 1),
              ("P02_101", "00:00:00.00", "00:00:01.00", 1, 0)],
    "validation": [("P01_01", "00:00:00.00", "00:00:00.50", 1, 2), ("P30_05", "01:02:03.40", "01:02:04.00", 0, 0)],
}  # fmt: skip


@pytest.mark.parametrize("folder", ["EPIC-KITCHENS/P01/videos", "EPIC-KITCHENS/P01", "videos"])
def test_epic_spans_are_the_frames_that_are_read(folder: str, tmp_path: Path) -> None:
    """12 frames a second: the span 0.5..1.0 is frames 6 to 11. Brightness tells the number of a frame."""
    publishers.epic(tmp_path, ROWS)
    write_file(tmp_path / folder / "P01_01.mp4", numbered_frames(30, 48, 48), g="6")
    data = _open(config("epic", tmp_path, 12, **EPIC, sampling={"frames": 2}))
    assert data.head_names == {"verb": ("take", "put", "wash"), "noun": ("tap", "spoon", "plate", "cupboard")}
    assert data.class_names == ()
    assert _rows(data.train) == [("P01_01_0", 2 * 4 + 3), ("P01_01_1", 0 * 4 + 1)] and data.train.skipped == 1
    assert _rows(data.test) == [("P01_01_0", 1 * 4 + 2)] and data.test.skipped == 1
    spans = {8 + 3: range(6, 12), 1: range(12, 24), 4 + 2: range(6)}
    for manifest, train in ((data.train, True), (data.test, False)):
        loader = Loader(manifest, data.config, size=48, batch_size=1, seed=0, train=train, workers=0)
        for batch in loader.epoch(0):
            numbers = (batch.clips.float().mean((-3, -2, -1)).flatten() - 20) / 3
            read = [round(float(number)) for number in numbers]
            span = spans[int(batch.labels)]
            assert set(read) <= set(span) and read == sorted(read)
            if not train:  # the middle of each half of 0..5
                assert read == [1, 4]


def test_epic_cut_clips_come_first_and_one_head_is_enough(tmp_path: Path) -> None:
    publishers.epic(tmp_path, ROWS)
    touch(tmp_path / "clips" / "P01_01_0.mp4", tmp_path / "clips" / "P02" / "P02_101_2.MP4")
    data = _open(config("epic", tmp_path, 12, **EPIC))
    assert [(clip.id, clip.start, clip.label) for clip in data.train.clips] == [
        ("P01_01_0", None, 11),
        ("P02_101_2", None, 4),
    ]
    assert [clip.label for clip in _open(config("epic", tmp_path, 4, heads={"noun": 4})).train.clips] == [
        3,
        0,
    ]
    with pytest.raises(UserError, match="verb and noun"):
        _open(config("epic", tmp_path, 4, heads={"adverb": 4}))


# --- UCF101, HMDB51, Diving48


def test_ucf101_splits(tmp_path: Path) -> None:
    publishers.ucf101(tmp_path)
    classes = {"ApplyEyeMakeup": 0, "HandstandPushups": 1}
    for split in (1, 2):
        data = _open(config("ucf101", tmp_path, 2, source={"split": split}))
        for manifest, name in ((data.train, "train"), (data.test, "test")):
            lines = (tmp_path / "ucfTrainTestlist" / f"{name}list0{split}.txt").read_text().split("\n")
            paths = [line.split(" ")[0] for line in lines if line]
            assert _rows(manifest) == [(path, classes[path.split("/")[0]]) for path in paths]
    assert data.class_names == tuple(classes)


def test_hmdb51_splits(tmp_path: Path) -> None:
    publishers.hmdb51(tmp_path)
    for split in (1, 2):
        data = _open(config("hmdb51", tmp_path, 2, source={"split": split})) if split == 1 else None
        expected: dict[str, list[tuple[str, int]]] = {"0": [], "1": [], "2": []}
        for label, name in enumerate(["brush_hair", "clap"]):
            text = (tmp_path / "testTrainMulti_7030_splits" / f"{name}_test_split{split}.txt").read_text()
            for line in text.split("\n")[:-1]:
                video, flag = line.split()
                expected[flag].append((f"{name}/{video}", label))
        if data is None:  # the second split of this file has no training clip at all
            with pytest.raises(UserError, match="train split lists no clips"):
                _open(config("hmdb51", tmp_path, 2, source={"split": split}))
            continue
        assert (_rows(data.train), _rows(data.test)) == (expected["1"], expected["2"])
        assert data.class_names == ("brush_hair", "clap")
    with pytest.raises(UserError, match=r"split3\.txt: 0 classes"):
        _open(config("hmdb51", tmp_path, 2, source={"split": 3}))


def test_diving48(tmp_path: Path) -> None:
    publishers.diving48(tmp_path)
    data = _open(config("diving48", tmp_path, 3))
    for manifest, name in ((data.train, "train"), (data.test, "test")):
        items = json.loads((tmp_path / f"Diving48_V2_{name}.json").read_text())
        assert _rows(manifest) == [(item["vid_name"], item["label"]) for item in items]
    assert data.class_names[0] == "Back 15som 05Twis FREE"


# --- lists, CSV files, class folders


def test_lists_of_every_kind(tmp_path: Path) -> None:
    names = ["a b/ü 1.mp4", "c, d.MP4", "e.webm", "日本/動画.mkv"]
    touch(*(tmp_path / unicodedata.normalize("NFD", name) for name in names))  # as macOS writes them
    separators = [" ", "\t", ",", "  "]
    lines = [f"{name}{by}{i}" for i, (name, by) in enumerate(zip(names, separators, strict=True))]
    write(tmp_path / "train.txt", "\ufeff" + "\r\n".join(lines) + "\r\n")  # as Windows writes it
    write(tmp_path / "val.txt", f"{tmp_path}/c, d.mp4 01\n./e.webm 2\n")
    data = _open(config("list", tmp_path, 4))
    assert _rows(data.train) == [(name, i) for i, name in enumerate(names)]
    assert all(clip.path.is_file() for clip in data.train.clips + data.test.clips)
    assert _rows(data.test) == [("c, d.MP4", 1), ("e.webm", 2)]


def test_csv_with_names_and_a_split(tmp_path: Path) -> None:
    rows = [("a.mp4", "zebra", "train"), ("b.mp4", "Äpfel, grün", "training"), ("c.mp4", "zebra", "test"),
            ("d.mp4", "moth", "val")]  # fmt: skip
    with (tmp_path / "all.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("Video_Path", "Class", "Split"), *rows])
    touch(*(tmp_path / "clips" / row[0] for row in rows))
    source = {"train": "all.csv", "test": "all.csv", "videos": "clips"}
    data = _open(config("list", tmp_path, 2, source=source))
    assert data.class_names == ("zebra", "Äpfel, grün")
    assert (_rows(data.train), _rows(data.test)) == ([("a.mp4", 0), ("b.mp4", 1)], [("c.mp4", 0)])
    write(tmp_path / "all.csv", "path;label;split\na.mp4;1;train\nb.mp4;0;train\nd.mp4;1;validation\n")
    data = _open(config("list", tmp_path, 2, source=source))
    assert (_rows(data.train), _rows(data.test)) == ([("a.mp4", 1), ("b.mp4", 0)], [("d.mp4", 1)])


def test_class_folders(tmp_path: Path) -> None:
    cold = unicodedata.normalize("NFD", "kühl")
    files = [
        "train/b c/1.mp4",
        f"train/{cold}/x/2.AVI",
        f"train/{cold}/1.mp4",
        "val/kühl/3.webm",
        "val/a/4.mov",
    ]
    touch(
        *(
            tmp_path / name
            for name in [*files, "train/b c/notes.txt", "train/b c/._1.mp4", "train/readme.mp4"]
        )
    )
    (tmp_path / "train" / "empty").mkdir()
    data = _open(config("folders", tmp_path, 3))
    assert data.class_names == ("a", "b c", "kühl")
    assert _rows(data.train) == [("train/b c/1.mp4", 1), ("train/kühl/1.mp4", 2), ("train/kühl/x/2.AVI", 2)]
    assert _rows(data.test) == [("val/a/4.mov", 0), ("val/kühl/3.webm", 2)]


# --- names and errors


def test_finding_files_lists_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(*(tmp_path / "d" / f"{i}.mp4" for i in range(50)), tmp_path / "d" / "dots.in.name.webm")
    listed: list[Any] = []
    real = __import__("os").listdir
    monkeypatch.setattr("os.listdir", lambda folder: listed.append(folder) or real(folder))
    finder = Finder()
    assert all(finder.find(tmp_path, f"d/{i}.webm") == tmp_path / "d" / f"{i}.mp4" for i in range(50))
    assert finder.find(tmp_path, "d/dots.in.name") and not finder.find(tmp_path, "d/dots.in")
    assert not finder.find(tmp_path, "D/1.mp4") and not finder.find(tmp_path, "d/51.mp4")
    assert listed.count(str(tmp_path / "d")) == 1


UCF, HMDB = "ucfTrainTestlist/", "testTrainMulti_7030_splits/"
EPIC_TRAIN, K400_TRAIN = "epic-kitchens-100-annotations/EPIC_100_train.csv", "annotations/train.csv"
COLUMNS = "label,youtube_id,time_start,time_end\n"
BROKEN = [
    (
        "ucf101",
        2,
        UCF + "trainlist01.txt",
        "ApplyEyeMakeup/v.avi 1\nDancing/v.avi 3\n",
        "trainlist01.txt, line 2",
    ),
    ("ucf101", 2, UCF + "trainlist01.txt", "\nApplyEyeMakeup/v.avi 2\n", "trainlist01.txt, line 2"),
    ("ucf101", 2, UCF + "classInd.txt", "1 A\nB\n", "classInd.txt, line 2"),
    ("ucf101", 3, UCF + "classInd.txt", "1 A\n2 B\n", "2 classes, but dataset.classes is 3"),
    ("hmdb51", 2, HMDB + "clap_test_split1.txt", "a.avi 1\nb.avi 3\n", "clap_test_split1.txt, line 2"),
    ("diving48", 3, "Diving48_V2_test.json", '[{"vid_name": "a", "label": 3}]', "test.json, entry 0: label"),
    ("diving48", 3, "Diving48_V2_test.json", '[{"vid": "a"}]', "Diving48_V2_test.json: entry 0"),
    ("diving48", 3, "Diving48_V2_test.json", "[{]", "Diving48_V2_test.json, line 1: not valid JSON"),
    ("epic", 12, EPIC_TRAIN, "narration_id,video_id\nx,y\n", "line 1: no column 'participant_id'"),
    ("kinetics", 4, K400_TRAIN, COLUMNS + "zumba,x,a,10\n", "train.csv, line 2: time_start"),
    ("kinetics", 4, K400_TRAIN, COLUMNS + "zumba,,0,10\n", "line 2: no value for 'youtube_id'"),
    ("kinetics", 4, K400_TRAIN, COLUMNS + "zumba,x,0,10\n", "dataset.classes is 4"),
    (
        "kinetics",
        4,
        K400_TRAIN,
        COLUMNS + 'zumba,x,0,10\n"zumba,y,0,10\nzumba,z,0,10\n',
        "train.csv, line 3: the row",
    ),
    ("kinetics", 4, K400_TRAIN, COLUMNS + "z" * 200_000 + ",x,0,10\n", "field larger than field limit"),
    ("kinetics", 4, K400_TRAIN, "z" * 200_000 + "," + COLUMNS, "train.csv, line 1: not the header"),
]


@pytest.mark.parametrize(("kind", "classes", "file", "text", "message"), BROKEN)
def test_broken_annotations_are_named(
    kind: str, classes: int, file: str, text: str, message: str, tmp_path: Path
) -> None:
    if kind == "kinetics":
        (tmp_path / "train").mkdir()
        (tmp_path / "val").mkdir()
        write(tmp_path / "annotations" / "val.csv", "label,youtube_id,time_start,time_end\nzumba,x,0,10\n")
    elif kind == "epic":
        publishers.epic(tmp_path, ROWS)
        (tmp_path / "videos").mkdir()
    else:
        getattr(publishers, kind)(tmp_path)
    write(tmp_path / file, text)
    with pytest.raises(UserError) as caught:
        _open(config(kind, tmp_path, classes, **(EPIC if kind == "epic" else {})))
    assert message in str(caught.value) and file.split("/")[-1].split("_test")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("P01_01", "0:00", "00:00:01.00", 0, 0), "line 2: expected a time"),
        (("P01_01", "00:00:00.00", "00:00:01.00", 3, 0), "line 2: verb_class must be a whole number of 0..2"),
        (("P01_01", "00:00:00.00", "00:00:01.00", 0, 4), "line 2: noun_class"),
    ],
)
def test_broken_actions_are_named(row: tuple[str, str, str, int, int], message: str, tmp_path: Path) -> None:
    publishers.epic(tmp_path, {**ROWS, "train": [row]})
    with pytest.raises(UserError, match=message):
        _open(config("epic", tmp_path, 12, **EPIC))


@pytest.mark.parametrize("name", [n for n in packaged_names("datasets") if not n.startswith("synth")])
def test_absent_data_sets_say_what_is_expected_where(name: str, tmp_path: Path) -> None:
    root = tmp_path / "none"
    with pytest.raises(UserError) as caught:
        _open(load_dataset(name, {"root": str(root)})[0])
    text = str(caught.value)
    assert str(root) in text and "--set dataset.root=FOLDER" in text and "FOLDER/" in text


def test_protocols_of_the_official_code() -> None:
    """The numbers of the official scripts (linziyi96/st-adapter, scripts/*.sh), written down again."""
    k400, defaults = load_dataset("k400")
    assert (k400.sampling.mode, k400.sampling.frames, k400.sampling.stride) == ("dense", 8, 16)
    assert (k400.augment.crop, k400.augment.jitter, k400.augment.flip) == ("jitter", (1.0, 1.15), True)
    assert (k400.views.temporal, k400.views.spatial) == (3, 1)
    recipe = defaults["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["lr"], recipe["lr_batch"]) == (12, 192, 1e-3, 256)
    classes = {
        name: load_dataset(name)[0].classes for name in ("ssv2", "ucf101", "hmdb51", "diving48", "ek100")
    }
    assert classes == {"ssv2": 174, "ucf101": 101, "hmdb51": 51, "diving48": 48, "ek100": 97 * 300}
    assert load_dataset("ek100")[0].outputs == 397


def test_times_of_frames_are_those_of_the_file(tmp_path: Path) -> None:
    """A variable frame rate: what a span holds is decided by each frame's own time."""
    import av

    from petl_bench.data.decode import open_video

    times = [0, 40, 100, 140, 500, 540, 900, 1000]  # milliseconds
    file = tmp_path / "variable.mkv"
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = __import__("fractions").Fraction(1, 1000)
        for image, time in zip(numbered_frames(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for decoder in ("decord", "pyav"):
        with open_video(file, decoder) as video:
            for start in np.arange(0, 1100, 20):
                for stop in (start + 10, start + 300):
                    inside = [i for i, t in enumerate(times) if start <= t < stop]
                    shown = [max(i for i, t in enumerate(times) if t <= start)]
                    wanted = inside or shown
                    assert video.frame_range(start / 1000, stop / 1000) == (wanted[0], wanted[-1] + 1)
        with open_video(file, decoder) as video, pytest.raises(ValueError, match="begins after"):
            video.frame_range(5.0, 6.0)
