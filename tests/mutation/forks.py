"""Tests of a mistake, in a fork of a process that has imported torch and the like, on a copy of the tree."""

from __future__ import annotations

import compileall
import importlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mutants import Mutant

TREE = Path(__file__).resolve().parents[2]
COPIED = (
    "petl_bench",
    "methods",
    "configs",
    "results",
    "tests",
    "docs",
    "pyproject.toml",
    "README.md",
    "Makefile",
)
PRELOADED = """torch torch.utils.data torchvision.transforms timm open_clip numpy pandas matplotlib.pyplot PIL.Image av
decord yaml pydantic.main pydantic.types rich.console rich.progress rich.table typer safetensors.torch fvcore.nn
platformdirs concurrent.futures.process multiprocessing.forkserver hypothesis pytest _pytest.junitxml pdb
_hypothesis_pytestplugin xdist.plugin xdist.looponfail anyio.pytest_plugin"""
MEMORY = 16 * 2**30  # bytes of address space of a fork: a mistake may never stop asking for more


@dataclass
class Job:
    """A fork that runs the tests of a mistake in its own copy of the tree."""

    mutant: Mutant | None
    tree: Path
    limit: float
    began: float = field(default_factory=time.monotonic)
    pid: int = 0

    @property
    def said(self) -> Path:
        return self.tree / "output.txt"


def copy_tree(to: Path) -> None:
    """What tests need of the tree, compiled."""
    for name in COPIED:
        source, target = TREE / name, to / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, target, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(source, target)
    for folder in ("petl_bench", "methods"):
        compileall.compile_dir(to / folder, quiet=1)


def start(job: Job, tests: Sequence[str]) -> None:
    """Fork; the child ends with 0 where every test passed, 1 where one failed, 2 where something else went wrong."""
    sys.stdout.flush()
    job.pid = os.fork()
    if job.pid:
        return
    code = 2
    try:
        os.setsid()  # so that all it starts can be ended with it
        os.chdir(job.tree)
        with job.said.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.path[:] = [str(job.tree), *(p for p in sys.path if p != str(Path(__file__).parent))]
        os.environ["PYTHONPATH"] = str(job.tree)
        if job.mutant:
            # a module that changes twice within a second must not be taken from a file compiled in between
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        code = in_child(job.mutant.module if job.mutant else "", tests, job.tree)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def in_child(module: str, tests: Sequence[str], tree: Path) -> int:
    import pytest

    try:
        import petl_bench

        assert str(petl_bench.__file__).startswith(str(tree)), petl_bench.__file__
        if module:
            name = module.removesuffix(".py").replace("/", ".")
            __import__(name if name.startswith("petl_bench") else f"petl_bench.{name}")
    except BaseException as error:
        print(f"FAILED import of {module}: {error!r}", flush=True)
        return 1
    options = f"-x -q -n 0 --assert=plain --no-header --tb=line -p no:cacheprovider --basetemp={tree}/tmp"
    code = int(pytest.main([*options.split(" "), *tests]))
    sys.stdout.flush()
    sys.stderr.flush()
    return code if code in (0, 1) else 2


def finish(job: Job) -> tuple[str, str] | None:
    """(verdict, by which test) of a job that has ended, or that its limit ends now; None while it runs."""
    pid, status = os.waitpid(job.pid, os.WNOHANG)
    late = time.monotonic() - job.began > job.limit
    if not pid and not late:
        return None
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    if not pid:
        os.waitpid(job.pid, 0)
        return "killed", f"more than {job.limit:.0f} s"
    said = job.said.read_text(errors="replace")
    failed = next((line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "survived", ""
    # code 2: pytest could not collect the tests, or the process died; both are noticed
    return "killed", failed.removeprefix("FAILED ")[:150] or f"exit code {code}"


def preload() -> None:
    """Import what every child would have to, but nothing of the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in PRELOADED.split():
            with suppress(ImportError):
                importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    assert "petl_bench" not in sys.modules


def baseline(trees: Sequence[Path], tests: Sequence[str]) -> float:
    """Seconds that the tests take where there is no mistake; they must pass. Leaves them compiled."""
    began = time.monotonic()
    for tree in trees:
        job = Job(None, tree, 900)
        start(job, tests)
        while (found := finish(job)) is None:
            time.sleep(0.05)
        if found[0] != "survived":
            sys.exit(
                f"{' '.join(tests)} fail without any mistake: {found[1]}\n{job.said.read_text()[-3000:]}"
            )
    return (time.monotonic() - began) / len(trees)


def put(mutant: Mutant, tree: Path, source: str) -> None:
    file = tree / mutant.module
    file.write_text(source, encoding="utf-8")
    for compiled in file.parent.joinpath("__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()
