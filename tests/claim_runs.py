"""Claims made up for tests, judged on runs made up for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report_runs import record, write_run

from petl_bench.report.claims import Claim, Claims
from petl_bench.report.collect import compare
from petl_bench.report.judge import Judged, judge
from petl_bench.report.paper_numbers import Paper
from petl_bench.report.runs import read_runs


def claim(**fields: Any) -> Claim:
    return Claim.model_validate(
        {"id": "x", "statement": "s", "measure": "top1", "of": "st_adapter", **fields}
    )


def judged(results: Path, records: list[dict[str, Any]], *claims: Claim, **more: Any) -> list[Judged]:
    for data in records:
        write_run(results, data)
    suite = records[0]["suite"]
    found = Claims(claims=list(claims), **more)
    return judge(found, suite, compare(read_runs(results, suite), Paper([])))


def runs(method: str, *tops: float, **changes: Any) -> list[dict[str, Any]]:
    return [record(method, seed, top1, **changes) for seed, top1 in enumerate(tops)]
