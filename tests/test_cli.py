"""The command line as a user meets it: whole processes, exit codes, messages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from petl_bench.cli import main

SMALL = ["--set", "dataset.source.train_clips=64", "--set", "dataset.source.test_clips=32"]
FAST = ["--set", "recipe.epochs=1", "--set", "recipe.batch_size=8", "--workers", "0"]


def petl(*args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "petl_bench", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": "1", **env},
        timeout=300,
    )


def test_help_imports_no_torch() -> None:
    code = "import sys; from petl_bench.cli import app; import typer.main; typer.main.get_command(app); "
    code += "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'heavy imports'"
    subprocess.run([sys.executable, "-c", code], check=True)
    out = petl("--help").stdout
    for command in ("run", "report", "methods", "check", "datasets", "pretrain", "profile", "tune"):
        assert command in out


def test_missing_data_says_where_and_how(tmp_path: Path) -> None:
    done = petl("run", "--methods", "st_adapter,prompt,full", "--dataset", "ssv2", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in ("labels.json", "20bn-something-something-v2", "--set dataset.root=", "PETL_BENCH_DATA"):
        assert part in done.stderr
    assert not list(tmp_path.iterdir()), "a failed start leaves nothing behind"


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["run", "--methods", "st_adaptor"], "Did you mean 'st_adapter'"),
        (["run", "--seeds", "a"], "--seeds a: expected comma-separated integers"),
        (["run", "--config", "nothing.yaml"], "No such file: nothing.yaml"),
        (["run", "--device", "gpu7", "--methods", "linear_probe"], "--device gpu7: not a device"),
        (["tune", "--grid", "x"], "--grid x: expected comma-separated numbers"),
        (["tune", "--grid", "-1"], "learning rates are positive"),
        (["check", "nothing"], "Unknown method 'nothing'"),
        (["methods", "promt"], "Did you mean 'prompt'"),
        (["report", "--results", "nowhere"], "petl-bench run"),
        (["profile", "--methods", "st_adapter", "--set", "st_adapter.kernel=[2,1,1]"], "odd"),
        (["pretrain", "--set", "step=3"], "step: no such field"),
        (["run", "--methods", ""], "--methods"),
        (["run", "--methods", "full,"], "--methods"),
        (["run", "--seeds", ""], "--seeds"),
        (["run", "--dataset", " "], "--dataset"),
        (["run", "--suite", ""], "--suite is empty"),
        (["run", "--backbone", ""], "--backbone is empty"),
        (["run", "--methods", "all,full"], "leave out the others"),
        (["run", "--set", "lora.rank=3"], "lora: not among the methods of this run"),
        (["run", "--learning-rates", "none.yaml"], "none.yaml"),
        (["run", "--out", "/dev/null/results"], "--out /dev/null/results: /dev/null is a file"),
        (["datasets", "add", "mine", "--root", "nowhere"], "--root"),
        (["run", "--backbone", "timm:resnet50", "--dataset", "synth_motion"], "no plain ViT"),
        (["tune", "--grid", ""], "--grid"),
        (["run", "--suite", "demo", "--suite", "embedded"], "--suite is given more than once"),
        (["datasets", "check", "ssv2", "-j", "2", "--jobs", "3"], "--jobs is given more than once"),
    ],
)
def test_bad_input_ends_with_2_and_a_message(
    args: list[str],
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: a new one for each would only import torch again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "argv", ["petl-bench", *args])
    # what makes workers would start in this folder and outlive it
    monkeypatch.setattr("petl_bench.train.run.expect_workers", lambda: None)
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 2, said
    assert part in said
    assert not list(tmp_path.iterdir())


def test_run_report_and_again(tmp_path: Path) -> None:
    args = ["run", "--methods", "linear_probe,st_adapter", *SMALL, *FAST, "--decoder", "pyav"]
    first = petl(*args, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "2 runs under results/" in first.stdout
    assert re.search(r"synth_motion\s+st_adapter\s+0\s+[\d.]+ %", first.stdout)
    again = petl(*args, cwd=tmp_path)
    assert again.returncode == 0
    assert "lockstep" not in again.stdout, "what is done was run again"
    rebuilt = petl("run", "--config", "results/demo/synth_motion/st_adapter/seed-0/config.yaml", "--workers", "0",
                   "--decoder", "pyav", "--out", "other", cwd=tmp_path)  # fmt: skip
    assert rebuilt.returncode == 0, rebuilt.stderr
    weights = "demo/synth_motion/st_adapter/seed-0/adapter.safetensors"
    assert (tmp_path / "other" / weights).read_bytes() == (tmp_path / "results" / weights).read_bytes()
    report = petl("report", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "reports" / "demo" / "report.md").read_text()
    assert "st_adapter" in page
    assert "pyav" in page


@pytest.mark.parametrize("to", ["process", "group"])
def test_interrupted_run_goes_on(to: str, tmp_path: Path) -> None:
    """Ctrl-C, or the SIGTERM that `timeout` and batch systems send to all processes of a job."""
    args = [sys.executable, "-m", "petl_bench", "run", "--methods", "linear_probe", *SMALL]
    args += [
        "--set",
        "recipe.epochs=40",
        "--set",
        "recipe.batch_size=8",
        "--workers",
        "0" if to == "process" else "1",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        args, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    record = tmp_path / "results" / "demo" / "synth_motion" / "linear_probe" / "seed-0" / "record.json"
    checkpoint = record.with_name("checkpoint.pt")
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    if to == "process":
        process.send_signal(signal.SIGINT)
    else:
        os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert '"running"' in record.read_text()
    done = petl(*args[3:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"sessions": 2' in record.read_text()
    assert not checkpoint.exists()


def test_lists() -> None:
    listed = petl("methods").stdout
    for name in ("full", "temporal", "partial", "linear_probe", "attentional_pooling", "prompt", "adapter"):
        assert name in listed
    one = petl("methods", "st_adapter").stdout
    for part in ("kernel", "(3, 1, 1)", "width", "arXiv 2206.13559"):
        assert part in one
    sets = petl("datasets").stdout
    assert "synth_motion" in sets
    assert "not found" in sets
    checked = petl("check", "st_adapter")
    assert checked.returncode == 0
    assert checked.stdout.count("holds") == 11


def test_profile_gives_the_papers_numbers() -> None:
    out = petl("profile", "--methods", "st_adapter", "--dataset", "ssv2").stdout
    row = next(line for line in out.splitlines() if "st_adapter" in line)
    assert "7.24 M" in row
    assert "8.29 %" in row or "8.28 %" in row
    assert "455.3" in row or "455" in row
