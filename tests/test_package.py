"""The wheel, installed without the checkout on the path."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_wheel_has_everything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("petl_bench", "methods", "configs", "pyproject.toml", "README.md", "LICENSE"):
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, source / name)
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    code = (
        "import petl_bench, sys; from petl_bench.registry import method_names, find_method; "
        "from petl_bench.config import config_names; from petl_bench.weights import weights_file; "
        "from petl_bench.suite import Request, expand; "
        "assert petl_bench.__file__.startswith(sys.argv[1]), petl_bench.__file__; "
        "assert find_method('st_adapter').__name__ == 'STAdapter'; assert weights_file('tiny_clip').is_file(); "
        "assert len(expand(Request())) == 6; print(method_names(), config_names('datasets'))"
    )
    run = [sys.executable, "-c", code, str(site)]
    out = subprocess.run(
        run, cwd=tmp_path, env={"PYTHONPATH": str(site), "PATH": ""}, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    assert "st_adapter" in out.stdout
    assert "synth_motion" in out.stdout
