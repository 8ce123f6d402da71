"""The command that would make the runs that a claim lacks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from petl_bench.config import config_names, load_named
from petl_bench.report.claims import Rows
from petl_bench.report.collect import VARIANT
from petl_bench.report.judge import Judged
from petl_bench.suite import Request, find_suite
from petl_bench.suite_config import Suite


def command(judged: Judged) -> str | None:
    """`petl-bench run ...`, or None where no command is known to help.

    Rows that are not there come from a suite that has them, the suite itself before others; seeds that are not there
    from the suite itself.
    """
    datasets = judged.dataset.split(", ")
    if judged.elsewhere:
        own = _suite(judged.suite).datasets if judged.suite in config_names("suites") else []
        there = next((d for d in judged.elsewhere if d in own), None)
        return f"petl-bench run --suite {judged.suite} --dataset {there}" if there else None
    if judged.absent:
        return next(_runs_of(judged, datasets), None)
    lacking = [c for c in judged.contrasts if len(c.numbers.values) < judged.claim.runs]
    if not lacking:
        return None
    suffix = f"{VARIANT}{judged.backbone}"
    labels = dict.fromkeys(label.removesuffix(suffix) for c in lacking for label in c.labels)
    place = f"--suite {judged.suite} " if judged.suite in config_names("suites") else ""
    text = f"petl-bench run {place}--dataset {','.join(datasets)} --methods {','.join(labels)}"
    if any("not measured" in line for c in lacking for line in c.numbers.dropped):
        return f"{text} --overwrite"
    return f"{text} --seeds {','.join(map(str, range(judged.claim.runs)))}"


def _runs_of(judged: Judged, datasets: list[str]) -> Iterator[str]:
    """Commands that make the claim's rows: of suites on these data sets, then of suites on this backbone."""
    wanted = (judged.claim.subject, *judged.claim.than)
    names = sorted(config_names("suites"), key=lambda name: (name != judged.suite, name))
    able = [name for name in names if _offers(name, wanted, judged.claim.runs)]
    for name in able:
        if set(datasets) <= set(_suite(name).datasets):
            other = judged.backbone not in _backbones(name, datasets[0])
            yield _command(name, datasets) + (f" --backbone {judged.backbone}" if other else "")
    for name in able:
        if judged.backbone in _backbones(name, _suite(name).datasets[0]):
            yield _command(name, datasets)


def _command(suite: str, datasets: list[str]) -> str:
    return f"petl-bench run --suite {suite} --dataset {','.join(datasets)}"


@lru_cache
def _suite(name: str) -> Suite:
    return find_suite(Request(suite=name))


def _backbones(suite: str, dataset: str) -> list[str]:
    """What a suite trains on a data set."""
    found = _suite(suite)
    return [found.backbone or load_named("datasets", dataset).get("backbone", ""), *found.backbones]


def _offers(suite: str, wanted: tuple[Rows, ...], seeds: int) -> bool:
    """Whether a suite has all the rows and as many seeds."""
    found = _suite(suite)
    return len(found.seeds) >= seeds and all(
        any(
            method.name == rows.method
            and (rows.vary in method.settings if rows.vary else method.label == rows.method)
            for method in found.methods
        )
        for rows in wanted
    )
