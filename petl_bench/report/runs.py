"""The runs of a suite: each record is read once and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.errors import UserError, unknown_name
from petl_bench.records import Cost, Metrics, RunRecord
from petl_bench.results import RunFolder, find_runs


@dataclass(frozen=True)
class Run:
    """A record and the folder that holds it."""

    record: RunRecord
    folder: RunFolder
    where: str  # relative to the results folder, so that reports hold no machine's paths
    # what `conditions.known` has worked out of it, and where runs of which it is the same share it
    facts: dict[Any, Mapping[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    pool: dict[bytes, Mapping[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def metrics(self) -> Metrics:
        assert self.record.metrics is not None  # checked by `read_runs` for finished runs
        return self.record.metrics

    @property
    def cost(self) -> Cost:
        assert self.record.cost is not None
        return self.record.cost

    def setting(self, *path: str) -> Any:
        """A value of the run's resolved config, None where there is none."""
        node: Any = self.record.config
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    @property
    def settings(self) -> dict[str, Any]:
        """Of the method; records older than the field `settings` know only those that were given."""
        return self.record.settings or self.setting("method", "settings") or {}

    @property
    def fraction(self) -> float:
        """Share of the training clips that the run trained on."""
        return float(self.setting("dataset", "fraction") or 1.0)

    @property
    def learning_rate(self) -> float | None:
        """The method's own rate, or the recipe's for methods that have none."""
        own = self.setting("method", "lr")
        return own if own is not None else self.setting("recipe", "lr")


def find_suites(results: Path) -> list[str]:
    """Names of the suites that have runs under `results`.

    Raises:
        UserError: there are none.
    """
    suites = sorted({path.parents[3].name for path in results.glob("*/*/*/seed-*/record.json")})
    if not suites:
        raise _no_runs(results)
    return suites


def read_runs(results: Path, suite: str) -> list[Run]:
    """Every run of a suite, by data set, label and seed.

    Raises:
        UserError: no run, a record that cannot be read, a finished run without its numbers, or two folders
            that hold the same run.
    """
    runs: dict[tuple[str, str, int], Run] = {}
    pool: dict[bytes, Mapping[str, Any]] = {}
    for folder in find_runs(results, suite):
        record = folder.read_record()
        if record is None:  # removed since it was listed
            continue
        if record.status == "done":
            if record.metrics is None or record.cost is None:
                raise UserError(f"{folder.record_file}: status is 'done', but metrics or cost are missing.")
            if not math.isfinite(record.metrics.top1):
                raise UserError(
                    f"{folder.record_file}: field 'metrics.top1': {record.metrics.top1} is no number."
                )
        run = Run(record, folder, "/".join(folder.path.parts[-4:]), pool=pool)
        key = (record.dataset, record.label, record.seed)
        if key in runs:
            raise UserError(
                f"Two folders hold the same run ({record.dataset}, {record.label}, seed {record.seed}): "
                f"{runs[key].folder.path} and {folder.path}. Move one of them away."
            )
        runs[key] = run
    if not runs:
        suites = find_suites(results)
        if suite not in suites:
            raise unknown_name(f"suite under {results}:", suite, suites)
        raise _no_runs(results / suite)
    return [runs[key] for key in sorted(runs)]


def _no_runs(where: Path) -> UserError:
    return UserError(
        f"No runs found under {where} (looked for <suite>/<dataset>/<label>/seed-<n>/record.json). "
        "`petl-bench run` makes runs; --results DIR points to another folder of them."
    )
