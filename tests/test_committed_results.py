"""The runs that are committed are the runs that the shipped suites describe."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.config import RunConfig, config_names
from petl_bench.results import read_record
from petl_bench.suite import Request, expand

RESULTS = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize("suite", config_names("suites"))
def test_committed_runs_have_the_settings_of_their_suite(suite: str) -> None:
    """So `petl-bench run --suite NAME` in a fresh clone finds them done."""
    files = sorted((RESULTS / suite).glob("*/*/seed-*/record.json"))
    if not files:
        pytest.skip("no committed runs")
    runs = {(c.dataset.name, c.method.label, c.seed): c for c in expand(Request(suite))}
    for file in files:
        record = read_record(file)
        config = RunConfig.model_validate(record.config)
        expected = runs[record.dataset, record.label, record.seed]
        assert config.model_copy(update={"selection": None}) == expected.model_copy(
            update={"selection": None}
        )
        assert record.status == "done"
