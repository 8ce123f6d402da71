"""Records that are older than a setting mean what their code did, not what today's default is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from petl_bench.config import RunConfig
from petl_bench.errors import UserError
from petl_bench.records import RunRecord
from petl_bench.results import RunFolder, read_record
from petl_bench.train.run import Options, run_all

MakeRuns = Callable[..., list[RunConfig]]


def older_record(config: RunConfig, settings: dict[str, object]) -> str:
    record = RunRecord.model_validate(
        {
            "status": "done",
            "suite": config.suite,
            "dataset": config.dataset.name,
            "label": config.method.label,
            "method": config.method.name,
            "backbone": config.backbone.name,
            "seed": config.seed,
            "settings": {"fresh_lr": 3.0},
            "order_blind": False,
            "config": config.model_dump(mode="json"),
        }
    ).model_dump(mode="json")
    return json.dumps({**record, "settings": settings})


def test_full_fine_tuning_without_the_setting_had_one_rate_for_all(
    small_runs: MakeRuns, tmp_path: Path
) -> None:
    (config,) = small_runs("full")
    file = tmp_path / "record.json"
    file.write_text(older_record(config, {"temporal": "divided"}))
    record = read_record(file)
    assert record.settings == {"temporal": "divided", "fresh_lr": 1.0}
    assert record.config["method"]["settings"] == {"fresh_lr": 1.0}
    assert read_record(file) == RunRecord.model_validate(record.model_dump())  # once is enough


def test_newer_records_and_other_methods_are_left_alone(small_runs: MakeRuns, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    for method, settings in (("full", {"temporal": "none", "fresh_lr": 10.0}), ("partial", {"last": 1})):
        (config,) = small_runs(method)
        file.write_text(older_record(config, settings))
        record = read_record(file)
        assert record.settings == settings
        assert record.config["method"]["settings"] == {}


def test_an_older_run_does_not_pass_for_one_with_the_new_default(
    small_runs: MakeRuns, tmp_path: Path
) -> None:
    (config,) = small_runs("full")
    folder = RunFolder.of(tmp_path, config)
    folder.path.mkdir(parents=True)
    folder.record_file.write_text(older_record(config, {"temporal": "divided"}))
    with pytest.raises(UserError, match=r"other settings.*fresh_lr"):
        run_all([config], Options(out=tmp_path))
    (asked,) = small_runs("full", changes=("full.fresh_lr=1.0",))
    assert [r.settings["fresh_lr"] for r in run_all([asked], Options(out=tmp_path))] == [1.0]  # it is done


def test_clips_were_resized_bilinearly_before_that_was_recorded(small_runs: MakeRuns, tmp_path: Path) -> None:
    (config,) = small_runs("partial")
    data = json.loads(older_record(config, {"last": 1}))
    file = tmp_path / "record.json"
    for given, expected in ((None, "bilinear"), ("bicubic", "bicubic")):
        data["config"]["dataset"].pop("interpolation", None)
        if given:
            data["config"]["dataset"]["interpolation"] = given
        file.write_text(json.dumps(data))
        assert read_record(file).config["dataset"]["interpolation"] == expected
