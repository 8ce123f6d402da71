"""What several tests need: a small rendered data set, made once, and the run configs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from petl_bench.config import RunConfig
from petl_bench.suite import Request, expand

SMALL = [
    "dataset.source.train_clips=64",
    "dataset.source.test_clips=32",
    "recipe.epochs=2",
    "recipe.batch_size=8",
    "recipe.validation=0.25",
]


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests never touch the user's data folder."""
    folder = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("PETL_BENCH_DATA", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more, and tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture
def small_runs() -> Callable[..., list[RunConfig]]:
    """Configs of methods on 64 small clips: a few seconds each."""

    def make(*methods: str, changes: tuple[str, ...] = (), seeds: tuple[int, ...] = (0,)) -> list[RunConfig]:
        # what a test sets comes in place of what all have
        chosen = {change.partition("=")[0]: change for change in (*SMALL, *changes)}
        return expand(Request("demo", list(methods), None, None, list(seeds), list(chosen.values())))

    return make
