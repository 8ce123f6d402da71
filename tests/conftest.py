"""What several tests need: a small rendered data set, made once, and the run configs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from petl_bench.config import BackboneConfig, RunConfig
from petl_bench.dataset_config import DatasetConfig
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


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> DatasetConfig:
    """52 tiny videos; see `squares.py`."""
    from squares import write_squares

    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    """A CLIP of two blocks with random weights, which takes frames of 32 x 32 pixels."""
    from tiny_clips import add_tiny_models, save_as, tiny_clip

    folder = tmp_path_factory.mktemp("clip")
    add_tiny_models(folder)
    return BackboneConfig(
        name="tiny",
        summary="",
        source="open_clip",
        model="ViT-tiny-quickgelu",
        weights=str(save_as(tiny_clip(), folder / "plain.safetensors")),
        activation="quick_gelu",
    )
