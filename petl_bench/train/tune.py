"""Choosing learning rates: every method gets the same grid, on the validation part, in one lockstep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from petl_bench.config import LearningRates, MethodConfig, RunConfig, parse_set, validated
from petl_bench.errors import UserError
from petl_bench.idle import check_tunable
from petl_bench.results import RunFolder, write_atomic
from petl_bench.suite import Request, expand
from petl_bench.train.run import Options, run_all


def tune(request: Request, grid: list[float], options: Options) -> list[Path]:
    """Train each method with each rate, and write `<out>/tune/<suite>/<data set>.yaml` with all of the search.

    The file can be put under `configs/learning_rates/`, or named by a suite's `learning_rates`. A rate with which
    training diverged counts as 0 %. Of equals, the one that was better on the way is chosen (mean of all
    validations), then the smaller.

    Returns:
        the files, one for each data set.
    """
    check_tunable(parse_set(request.changes))
    configs = expand(request)
    if configs[0].recipe.validation == 0:
        raise UserError("recipe.validation is 0: there is no validation part to choose learning rates on.")
    variants = [_variant(c, rate) for c in configs for rate in grid]
    out = (
        options.out / "tune"
    )  # one folder deeper than runs that were tested, so that no report takes them in
    run_all(variants, replace(options, out=out, test=False))
    files = []
    for name in dict.fromkeys(c.dataset.name for c in configs):
        chosen, table = {}, {}
        of_set = [c for c in configs if c.dataset.name == name]
        for c in of_set:
            row = {rate: _validation_top1(RunFolder.of(out, _variant(c, rate))) for rate in grid}
            table[c.method.label] = {f"{rate:g}": scores[-1] for rate, scores in row.items()}
            chosen[c.method.label] = choose(row)
        first = RunFolder.of(out, _variant(of_set[0], grid[0])).read_record()
        clips = first.provenance.clips["train"].used if first and first.provenance else None
        rates = LearningRates(
            dataset=name,
            backbone=of_set[0].backbone.name,
            recipe=of_set[0].recipe,
            seed=of_set[0].seed,
            train_clips=clips,
            grid=grid,
            validation_top1=table,
            chosen=chosen,
        )
        file = out / configs[0].suite / f"{name}.yaml"
        header = f"# Made by `petl-bench tune`: top-1 on the validation part of {name}, in percent, by learning rate.\n"
        write_atomic(file, header + yaml.safe_dump(rates.model_dump(mode="json"), sort_keys=False))
        files.append(file)
    return files


def _variant(config: RunConfig, rate: float) -> RunConfig:
    label = f"{config.method.label}@{rate:g}"
    fields = {**config.method.model_dump(), "lr": rate, "label": label}
    method = validated(MethodConfig, fields, f"Method {label!r}")
    return config.model_copy(update={"method": method, "selection": None})


def choose(scores: dict[float, list[float]]) -> float:
    """The rate with the best last validation; see `tune` for equals."""
    return max(sorted(scores), key=lambda rate: (scores[rate][-1], sum(scores[rate]) / len(scores[rate])))


def _validation_top1(folder: RunFolder) -> list[float]:
    """Every validation of a finished run, the last one last; [0] for one that diverged."""
    record = folder.read_record()
    lines = folder.read_log("validation")
    done = record is not None and record.status == "done" and lines
    return [float(line["top1"]) for line in lines] if done else [0.0]
