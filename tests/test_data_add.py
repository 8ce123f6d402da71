"""Own data: which layout a folder has, configs for it, the names by which they are found, the list."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from publishers import touch, write
from typer.testing import CliRunner
from video_files import numbered_frames, write_file

from petl_bench.cli_datasets import app
from petl_bench.config import RunConfig, config_names
from petl_bench.data import open_data
from petl_bench.errors import UserError
from petl_bench.suite import Request, expand, load_dataset


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PETL_BENCH_DATA", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def _run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def _folders(root: Path) -> Path:
    for split, classes in (("train", "abc"), ("val", "ab")):
        touch(*(root / split / name / f"{i} x.mp4" for name in classes for i in range(7)))
    return root


def _lists(root: Path) -> Path:
    names = [f"v/{i} é.mp4" for i in range(9)]
    touch(*(root / name for name in names))
    write(root / "train.txt", "".join(f"{name} {i % 4}\n" for i, name in enumerate(names[:7])))
    write(root / "val.txt", "".join(f"{name} {i % 4}\n" for i, name in enumerate(names[7:])) + "gone.mp4 5\n")
    return root


def _csv(root: Path) -> Path:
    touch(*(root / f"{i}.mp4" for i in range(6)))
    with (root / "annotations.csv").open("w", newline="") as out:
        rows = [(f"{i}.mp4", ("walk", "run", "sit")[i % 3], "train" if i < 4 else "test") for i in range(6)]
        csv.writer(out).writerows([("path", "label", "split"), *rows])
    return root


LAYOUTS = [(_folders, 3, 21, 14, "folders"), (_lists, 6, 7, 2, "list"), (_csv, 3, 4, 2, "list")]


@pytest.mark.parametrize(("make", "classes", "train", "test", "kind"), LAYOUTS)
def test_a_config_for_each_layout(
    make: object, classes: int, train: int, test: int, kind: str, home: Path, tmp_path: Path
) -> None:
    assert callable(make)
    root = make(tmp_path)
    done = _run("add", "my-own", "--root", str(root))
    assert done.exit_code == 0, done.output
    assert f"{train} training clips" in done.output and f"{classes} classes" in done.output
    file = home / "my-own" / "dataset.yaml"
    written = yaml.safe_load(file.read_text())
    assert (written["classes"], written["source"]["kind"], written["root"]) == (classes, kind, str(root))
    by_name, by_file = load_dataset("my-own")[0], load_dataset(str(file))[0]
    data = open_data(by_name, validation=0)
    assert (len(data.train.clips), len(data.test.clips)) == (train, test)
    assert open_data(by_file, validation=0).sha256 == data.sha256
    assert "my-own" in config_names("datasets")
    (run,) = expand(Request(None, ["linear_probe"], ["my-own"]))
    assert run.dataset == by_name and run.recipe.batch_size <= train
    assert RunConfig.model_validate(run.model_dump(mode="json")) == run  # what a run's config.yaml holds
    guessed = load_dataset("custom", {"root": str(root)})[0]  # without a config at all
    assert (guessed.classes, guessed.source.kind) == (classes, kind)
    assert open_data(guessed, validation=0).sha256 == data.sha256


def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    root = _folders(tmp_path)
    assert _run("add", "mine", "--root", str(root)).exit_code == 0
    file = home / "mine" / "dataset.yaml"
    file.write_text("changed by hand")
    again = _run("add", "mine", "--root", str(root))
    assert isinstance(again.exception, UserError) and "--force" in str(again.exception)
    assert file.read_text() == "changed by hand"
    assert _run("add", "mine", "--root", str(root), "--force").exit_code == 0
    assert "classes: 3" in file.read_text()
    assert _run("add", "mine", "--root", str(root), "--out", str(home / "there.yaml")).exit_code == 0
    assert load_dataset(str(home / "there.yaml"))[0].name == "there"


def test_files_with_other_names(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _lists(tmp_path / "data")
    (root / "train.txt").rename(root / "learn.lst")
    elsewhere = (root / "val.txt").rename(tmp_path / "exam.lst")
    refused = _run("add", "mine", "--root", str(root))
    assert "none of the layouts" in str(refused.exception) and "--train" in str(refused.exception)
    assert not list(home.iterdir())
    monkeypatch.chdir(tmp_path)
    done = _run("add", "mine", "--root", str(root), "--train", "learn.lst", "--test", "exam.lst")
    assert done.exit_code == 0, done.exception
    source = yaml.safe_load((home / "mine" / "dataset.yaml").read_text())["source"]
    assert source == {"kind": "list", "train": "learn.lst", "test": str(elsewhere), "videos": "."}
    assert len(open_data(load_dataset("mine")[0], 0).test.clips) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ssv2"], "'ssv2' is the name of a data set of petl-bench"),
        (["a b"], "cannot be a name"),
        (["mine", "--root", "nowhere"], "there is no such folder"),
        (["mine", "--train", "none.txt"], "--train none.txt: neither"),
        (["mine", "--out", "config.txt"], "must end in .yaml"),
    ],
)
def test_bad_requests_leave_nothing(args: list[str], message: str, home: Path, tmp_path: Path) -> None:
    root = _folders(tmp_path)
    done = _run("add", *args, *([] if "--root" in args else ["--root", str(root)]))
    assert isinstance(done.exception, UserError) and message in str(done.exception)
    assert not list(home.iterdir())


def test_the_list_tells_clips_and_state(home: Path, tmp_path: Path) -> None:
    _run("add", "mine", "--root", str(_lists(tmp_path)))
    (home / "hurt").mkdir()
    (home / "hurt" / "dataset.yaml").write_text("classes: [")
    listed = _run()
    assert listed.exit_code == 0, listed.exception
    lines = {line.split()[0]: line for line in listed.output.splitlines() if line.strip()}
    assert re.search(r" 10 +6 +ready, 1 without a file, not checked", lines["mine"])
    assert "notvalidYAML" in re.sub(r"\s", "", listed.output)  # wrapped in its cell
    assert "29,100" in lines["ek100"] and "not found" in lines["ssv2"]
    for name in ("k400", "ucf101", "hmdb51", "diving48", "custom", "synth_motion"):
        assert name in lines


def test_check_from_the_command_line(home: Path, tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/1", "test/a/1", "test/b/1"):
        write_file(tmp_path / f"{name}.mp4", numbered_frames(8), preset="ultrafast")
    (tmp_path / "train/b/2.mp4").write_bytes(b"no video")
    _run("add", "mine", "--root", str(tmp_path))
    done = _run("check", "mine", "--jobs", "1")
    assert done.exit_code == 0, done.exception
    assert "check mine 5/5" in done.output and "4 ok, 1 broken" in done.output
    assert "train/b/2.mp4" in done.output and "petl_bench_skip_mine.json" in done.output
    assert open_data(load_dataset("mine")[0], 0).train.skipped == 1
    for args, message in (
        (["mien"], "Did you mean 'mine'"),
        (["mine", "--set", "recipe.epochs=1"], "Unknown place in --set 'recipe'"),
        (["mine", "--decoder", "vlc"], "Unknown decoder"),
    ):
        assert message in str(_run("check", *args).exception)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": 5}, "no folder 5"),
        ({"source": {"widht": "x"}}, "widht: no such field"),
        ({"source": {"train": 5}}, "train: .*found 5"),
    ],
)
def test_a_wrong_field_of_custom_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset("custom", {"root": str(tmp_path), **change})
