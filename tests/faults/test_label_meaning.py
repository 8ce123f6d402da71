"""Labels of own lists: what they mean in both files, or the error that names the file and the line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from publishers import config, touch, write

from petl_bench.data import open_data
from petl_bench.data.custom import describe
from petl_bench.errors import UserError

Files = dict[str, str]
CSV = "path,label\n"
CLIPS = "abcdef"


def _write(root: Path, files: Files) -> Path:
    touch(*(root / f"{clip}.mp4" for clip in CLIPS))
    for name, text in files.items():
        write(root / name, text)
    return root


def _read(root: Path, files: Files) -> tuple[tuple[str, ...], dict[str, int], dict[str, int]]:
    """The names of the classes; the labels of the training and the test clips."""
    found = describe("x", _write(root, files), {}).listed
    train, test = ({clip.id[0]: clip.label for clip in split.clips} for split in (found.train, found.test))
    return found.class_names, train, test


def _two(train: str, test: str, header: str = CSV, ending: str = "csv") -> Files:
    """Two lists: labels of the clips a, b, ... by commas, those of the test list begin at d."""
    rows = [
        "".join(f"{clip}.mp4,{label}\n" for clip, label in zip(clips, labels.split("|"), strict=False))
        for clips, labels in (("abc", train), ("def", test))
    ]
    return {f"train.{ending}": header + rows[0], f"test.{ending}": header + rows[1]}


MEANT = [
    # what it is; the files; classes; labels of a, b, ... in train; in test
    ("floats", _two("0.0|1.0", "0|1"), "01", {"a": 0, "b": 1}, {"d": 0, "e": 1}),
    ("floats with two zeros and a dot", _two("0.00|1.", "00|01"), "01", {"a": 0, "b": 1}, {"d": 0, "e": 1}),
    ("digits of another script", _two("0|١", "1|0"), "01", {"a": 0, "b": 1}, {"d": 1, "e": 0}),
    ("spaces around", _two(" 0 |\t1", "1 | 0"), "01", {"a": 0, "b": 1}, {"d": 1, "e": 0}),
    ("fractions as names", _two("0.5|1.0|2", "2|0.5"), ("0.5", "1.0", "2"), {"a": 0, "b": 1, "c": 2}, {"d": 2, "e": 0}),
    ("letters with accents in two ways", _two("kühl|b", unicodedata.normalize("NFD", "kühl")), ("b", "kühl"),
     {"a": 1, "b": 0}, {"d": 1}),
    ("names that differ by a sign", _two("C|C++|C#", "C#"), ("C", "C#", "C++"), {"a": 0, "b": 2, "c": 1}, {"d": 1}),
    ("scores", _two("at 1-0|at 10|at 0-1", "at 10"), ("at 0-1", "at 1-0", "at 10"), {"a": 1, "b": 2, "c": 0}, {"d": 2}),
    ("no gesture is a class", _two("none|wave", "none"), ("none", "wave"), {"a": 0, "b": 1}, {"d": 0}),
    ("a comma in quotes", _two('"pour, drink"|jump', "jump"), ("jump", "pour, drink"), {"a": 1, "b": 0}, {"d": 0}),
    ("an empty column more", _two("x,|y,", "y"), "xy", {"a": 0, "b": 1}, {"d": 1}),
    ("quotes without a header", {"train.csv": '"a.mp4",0\n"b.mp4","1"\n', "test.csv": "d.mp4,0\n"}, "01",
     {"a": 0, "b": 1}, {"d": 0}),
    ("quotes in a text list", {"train.txt": '"a.mp4" 0\n"b.mp4"\t1\n', "test.txt": "d.mp4 1\n"}, "01",
     {"a": 0, "b": 1}, {"d": 1}),
    ("Windows' line ends, a byte order mark", {"train.txt": "\ufeffa.mp4 0\r\nb.mp4 1\r\n", "test.txt": "d.mp4 1\r\n"},
     "01", {"a": 0, "b": 1}, {"d": 1}),
    ("a subset with gaps", _two("0|3", "3|0"), "0123", {"a": 0, "b": 3}, {"d": 3, "e": 0}),
    ("a test file without class 0", _two("0|1|2", "1"), "012", {"a": 0, "b": 1, "c": 2}, {"d": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "names", "train", "test"), [m[1:] for m in MEANT], ids=[m[0] for m in MEANT]
)
def test_what_labels_mean(
    files: Files, names: str | tuple[str, ...], train: dict[str, int], test: dict[str, int], tmp_path: Path
) -> None:
    assert _read(tmp_path, files) == (tuple(names), train, test)


NOT_MEANT = [
    ("numbers from 1", _two("1|2|3", "1|2", ""), r"train\.csv, line 1: .*begin at 1"),
    ("from 1 as floats", _two("2.0|1.0", "1.0"), r"train\.csv, line 3: .*begin at 1"),
    ("from 1 in one file", _two("1|2|3", "0|1|2"), r"test\.csv, line 2: the test split numbers .*train\.csv, line 2"),
    ("from 1 in the other", _two("0|1", "2|1"), r"train\.csv, line 2: .*from 1 to 2 .*test\.csv, line 3"),
    ("names and numbers", _two("jump|run", "0|1"), r"train\.csv, line 2: the label 'jump'.*test\.csv, line 2"),
    ("one number among names", _two("jump|7|run", "jump"), r"line 2: the label 'jump' is a name, but '7' .*line 3"),
    ("words for numbers", _two("true|false", "1|0"), "'true' is a name, but '1'"),
    ("-1 for unlabelled", _two("0|1|-1", "0"), r"train\.csv, line 4: the label -1 is below 0"),
    ("-1.0 for unlabelled", _two("0|1", "0|-1.0"), r"test\.csv, line 3: the label -1\.0 is below 0"),
    ("-1 among names", _two("run|jump|-1", "run"), r"train\.csv, line 4: the label -1"),
    ("-1 without a header", _two("0|-1", "0", ""), r"train\.csv, line 2: expected"),
    ("nan", _two("run|nan", "run"), r"train\.csv, line 3: 'nan' means that there is no label"),
    ("NULL", _two("run|jump", "NULL"), r"test\.csv, line 2: 'NULL' means"),
    ("no label", _two("run|", "run"), r"train\.csv, line 3: no value for 'label'"),
    ("a label of spaces", _two('run|"  "', "run"), r"train\.csv, line 3: no value for 'label'"),
    ("case", _two("Run|jump", "run"), r"test\.csv, line 2: the class 'run' is written 'Run' .*train\.csv, line 2"),
    ("case within a file", _two("Run|run", "run"), r"train\.csv, line 3: the class 'run' is written 'Run'"),
    ("True and true", _two("True|False", "true"), "the class 'true' is written 'True'"),
    ("underscores", _two("play guitar|run", "play_guitar"), "'play_guitar' is written 'play guitar'"),
    ("joined words", _two("PlayGuitar|run", "play-guitar"), "'play-guitar' is written 'PlayGuitar'"),
    ("zeros", _two("take 01|run", "take 1"), "'take 1' is written 'take 01'"),
    ("an invisible space", _two("run\u200b|jump", "run"), "'run' is written 'run\\\\u200b'"),
    ("wide letters", _two("ｒｕｎ|jump", "run"), "'run' is written"),
    ("quotes and brackets", _two("person's (head)|run", "persons head"), "'persons head' is written"),
    ("fractions in two ways", _two("0.5|1.0", "1|0.5"), r"test\.csv, line 2: the class '1' is written '1\.0'"),
    ("a comma", _two("pour, drink|pour, spill", "pour"), r"train\.csv, line 2: 3 values for 2 columns"),
    ("a comma in a path", {"train.csv": CSV + "a.mp4,x\nb, c.mp4,y\n", "test.csv": CSV + "d.mp4,x\n"},
     r"train\.csv, line 3: 3 values for 2 columns"),
    ("two labels in one file", {"train.txt": "a.mp4 0\n./a.mp4 1\n", "test.txt": "d.mp4 0\n"},
     r"train\.txt, line 2: \./a\.mp4 has the label '1', but '0' in .*train\.txt, line 1"),
    ("two labels in two files", {"train.txt": "a.mp4 0\nb.mp4 1\n", "test.txt": "a.mp4 1\n"},
     r"test\.txt, line 1: a\.mp4 has the label '1', but '0' in .*train\.txt, line 1"),
    ("two labels of a missing clip", {"train.txt": "x.mp4 0\nx.mp4 1\n", "test.txt": "d.mp4 1\n"}, "line 2: x.mp4 has"),
    ("two columns of one name", {"train.csv": "path,label,label\na.mp4,0,1\n", "test.csv": CSV + "d.mp4,0\n"},
     r"train\.csv, line 1: two columns 'label'"),
    ("no test clip", {"train.txt": "a.mp4 0\nb.mp4 1\n", "test.txt": "\n"}, r"test\.txt: no clip of the test split"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "message"), [n[1:] for n in NOT_MEANT], ids=[n[0] for n in NOT_MEANT])
def test_what_cannot_be_meant_names_file_and_line(files: Files, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        _read(tmp_path, files)


def _marked(marks: str) -> Files:
    labels = "xyxyxy"
    rows = zip(CLIPS, labels, marks.split("|"), strict=False)
    return {
        "all.csv": "path,label,split\n"
        + "".join(f"{clip}.mp4,{label},{mark}\n" for clip, label, mark in rows)
    }


@pytest.mark.parametrize(
    ("marks", "train", "test", "left"),
    [
        ("train|Training|test|TEST", "ab", "cd", {}),
        ("train|train|val|test|test", "ab", "de", {"val": 1}),
        ("train|train|validation|valid", "ab", "cd", {}),
        ("train|train|dev|dev", "ab", "cd", {}),
        ("train|train|eval|evaluation", "ab", "cd", {}),
        ("train|train|dev|eval|eval", "ab", "de", {"dev": 1}),
        ("train|train|dev|test|test|dev", "ab", "de", {"dev": 2}),
    ],
)
def test_marks_of_splits(marks: str, train: str, test: str, left: dict[str, int], tmp_path: Path) -> None:
    names, train_labels, test_labels = _read(tmp_path, _marked(marks))
    assert (names, "".join(train_labels), "".join(test_labels)) == (("x", "y"), train, test)
    found = describe("x", tmp_path, {}).listed.left_out
    assert {(part.kind, part.count) for part in found} == {("row", count) for count in left.values()}
    assert [part.reason.split(";")[0] for part in found] == [f"marked {mark}" for mark in left]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ("1|1|2|2", r"all\.csv, line 2: the split '1' is not known"),
        ("train|train|holdout|test", r"all\.csv, line 4: the split 'holdout' is not known"),
        ("train|train|test|eval", r"all\.csv: rows are marked 'test' and 'eval'"),
        ("train|train|val|dev", r"all\.csv: rows are marked 'val' and 'dev'"),
        ("train||test|test", r"all\.csv, line 3: no value for 'split'"),
        ("train|train|train", r"all\.csv: no clip of the test split"),
        ("test|test|test", r"all\.csv: no clip of the train split"),
    ],
)
def test_marks_that_tell_no_split(marks: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _read(tmp_path, _marked(marks))
    if "no clip" not in message:
        assert "Mark rows train, test (or eval) or val (or dev)" in str(caught.value)


def test_rows_of_a_list_that_are_marked_for_the_other_are_told(tmp_path: Path) -> None:
    head = "path,label,split\n"
    files = {
        "train.csv": head + "a.mp4,x,train\nb.mp4,y,train\nc.mp4,x,test\n",
        "test.csv": head + "d.mp4,x,\n",
    }
    assert _read(tmp_path, files) == (("x", "y"), {"a": 0, "b": 1}, {"d": 0})
    (left,) = describe("x", tmp_path, {}).listed.left_out
    assert (left.kind, left.count, left.reason) == ("row", 1, "marked test")


def test_two_tables_that_both_hold_everything(tmp_path: Path) -> None:
    text = _marked("train|train|test|test")["all.csv"]
    _write(tmp_path, {"all.csv": text, "old.csv": text, "._all.csv": text})
    with pytest.raises(UserError, match=r"all\.csv and .*old\.csv: both have .* --train FILE --test FILE"):
        describe("x", tmp_path, {})
    assert describe("x", tmp_path, {"train": "old.csv"}).classes == 2


@pytest.mark.parametrize("kind", ["kinetics", "ssv2"])
def test_numbers_in_the_lists_of_published_sets(kind: str, tmp_path: Path) -> None:
    """The same rules: floats are numbers, numberings agree, a clip has one label."""
    write(tmp_path / "labels.json", '{"x": "0", "y": "1", "z": "2"}')
    (tmp_path / "videos").mkdir()
    touch(*(tmp_path / f"{clip}.mp4" for clip in CLIPS))

    def read(train: str, test: str) -> list[int]:
        write(tmp_path / "train.csv", CSV + train)
        write(tmp_path / "val.csv", CSV + test)
        return [clip.label for clip in open_data(config(kind, tmp_path, 3), 0).train.clips]

    assert read("a.mp4,0.0\nb.mp4,2\n", "d.mp4,2.0\ne.mp4,0\n") == [0, 2]
    with pytest.raises(UserError, match=r"val\.csv, line 2: the test split numbers its classes from 0"):
        read("a.mp4,1\nb.mp4,2\n", "d.mp4,0\ne.mp4,1\n")
    with pytest.raises(UserError, match=r"val\.csv, line 2: a\.mp4 has the label '1'"):
        read("a.mp4,0\nb.mp4,2\n", "a.mp4,1\ne.mp4,0\n")


def test_class_names_of_kinetics_spelt_in_two_ways(tmp_path: Path) -> None:
    head = "label,youtube_id,time_start,time_end\n"
    write(tmp_path / "train.csv", head + "playing chess,x,0,10\nzumba,y,0,10\n")
    write(tmp_path / "val.csv", head + "Zumba,z,0,10\n")
    with pytest.raises(
        UserError, match=r"val\.csv, line 2: the class 'Zumba' is written 'zumba' .*train\.csv, line 3"
    ):
        open_data(config("kinetics", tmp_path, 3), 0)
