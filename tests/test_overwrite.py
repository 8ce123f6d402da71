"""Replacing finished runs: nothing is removed before everything that can be wrong has been looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.config import RunConfig
from petl_bench.errors import UserError
from petl_bench.records import RunRecord
from petl_bench.results import RunFolder
from petl_bench.suite import Request, expand
from petl_bench.train.run import Options, run_all


def a_run(*changes: str) -> RunConfig:
    (config,) = expand(Request(datasets=["synth_motion"], methods=["st_adapter"], changes=list(changes)))
    return config


def finished(out: Path, config: RunConfig) -> RunFolder:
    folder = RunFolder.of(out, config)
    folder.write_record(
        RunRecord(
            status="done",
            suite=config.suite,
            dataset=config.dataset.name,
            label=config.method.label,
            method=config.method.name,
            backbone=config.backbone.name,
            seed=config.seed,
            order_blind=False,
            config=config.model_dump(mode="json"),
        )
    )
    folder.adapter_file.write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("change", "decoder", "message"),
    [
        ("st_adapter.widht=8", "auto", "widht"),
        ("backbone.weights=nowhere.safetensors", "auto", "nowhere.safetensors"),
        ("dataset.classes=3", "auto", "dataset.classes is 3"),
        ("recipe.epochs=1", "ffmpeg", "ffmpeg"),
    ],
)
def test_an_error_costs_no_results(tmp_path: Path, change: str, decoder: str, message: str) -> None:
    folder = finished(tmp_path, a_run())
    before = folder.record_file.read_bytes()
    with pytest.raises(UserError, match=message):
        run_all([a_run(change)], Options(tmp_path, workers=0, decoder=decoder, overwrite=True))
    assert folder.record_file.read_bytes() == before
    assert folder.adapter_file.read_bytes() == b"weights"
