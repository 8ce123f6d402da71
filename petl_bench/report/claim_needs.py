"""The command that would make the runs that claims lack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from petl_bench.config import config_names, load_named
from petl_bench.report.claims import Rows
from petl_bench.report.collect import VARIANT
from petl_bench.report.judge import Judged
from petl_bench.suite import Request, find_suite
from petl_bench.suite_config import Suite


@dataclass(frozen=True)
class Command:
    """`petl-bench run ...`; without methods, those of its suite."""

    place: str  # suite and data sets; "" of runs that no suite describes: only who made them knows all of it
    methods: tuple[str, ...] = ()
    rest: str = ""

    def __str__(self) -> str:
        methods = f" --methods {','.join(self.methods)}" if self.methods else ""
        if not self.place:
            return f"the command that made these runs, with{methods}{self.rest}"
        return f"petl-bench run {self.place}{methods}{self.rest}"

    @property
    def key(self) -> tuple[str, str, bool]:
        """Commands of one key can be one command."""
        return self.place, self.rest, bool(self.methods)

    def with_methods_of(self, other: Command) -> Command:
        return replace(self, methods=tuple(dict.fromkeys(self.methods + other.methods)))


def command(judged: Judged) -> str | None:
    """The text of `needed`."""
    found = needed(judged)
    return str(found) if found else None


def needed(judged: Judged) -> Command | None:
    """What makes the runs that a claim lacks, or None where no command is known to help.

    Rows that are not there come from a suite that has them, the suite itself before others; seeds that are not there
    from the suite itself. Claims are judged within a suite, so runs that no suite describes lack what its own command
    makes.
    """
    datasets = judged.dataset.split(", ")
    known = judged.suite in config_names("suites")
    if not known and (judged.elsewhere or any(rows.vary for rows in judged.absent)):
        return None
    if not known and judged.absent:
        return Command("", tuple(dict.fromkeys(rows.method for rows in judged.absent)))
    if judged.elsewhere:
        own = _suite(judged.suite).datasets
        there = next((d for d in judged.elsewhere if d in own), None)
        return _command(judged.suite, [there]) if there else None
    if judged.absent:
        return next(_runs_of(judged, datasets), None)
    lacking = [c for c in judged.contrasts if len(c.numbers.values) < judged.claim.runs]
    if not lacking:
        return None
    suffix = f"{VARIANT}{judged.backbone}"
    labels = dict.fromkeys(label.removesuffix(suffix) for c in lacking for label in c.labels)
    place = f"--suite {judged.suite} --dataset {','.join(datasets)}" if known else ""
    rest = f" --seeds {','.join(map(str, range(judged.claim.runs)))}"
    if any("not measured" in line for c in lacking for line in c.numbers.dropped):
        rest = " --overwrite"
    return Command(place, tuple(labels), rest)


def _runs_of(judged: Judged, datasets: list[str]) -> Iterator[Command]:
    """Commands that make the claim's rows: of suites on these data sets, then of suites on this backbone."""
    wanted = (judged.claim.subject, *judged.claim.than)
    names = sorted(config_names("suites"), key=lambda name: (name != judged.suite, name))
    able = [name for name in names if _offers(name, wanted, judged.claim.runs)]
    for name in able:
        if set(datasets) <= set(_suite(name).datasets):
            other = judged.backbone not in _backbones(name, datasets[0])
            rest = f" --backbone {judged.backbone}" if other else ""
            yield replace(_command(name, datasets), rest=rest)
    for name in able:
        if judged.backbone in _backbones(name, _suite(name).datasets[0]):
            yield _command(name, datasets)


def _command(suite: str, datasets: list[str]) -> Command:
    return Command(f"--suite {suite} --dataset {','.join(datasets)}")


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
