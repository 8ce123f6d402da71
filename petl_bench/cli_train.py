"""Commands that train: run, tune, pretrain. torch is imported when they run."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petl_bench.cli_options import (
    Backbone,
    Datasets,
    Decoder,
    Device,
    LearningRates,
    MaxUnreadable,
    Methods,
    Out,
    Overwrite,
    Quiet,
    Seeds,
    Set,
    SuiteName,
    Threads,
    Workers,
    check_out,
    make_console,
    make_options,
    make_request,
    split,
)
from petl_bench.errors import UserError

if TYPE_CHECKING:
    from petl_bench.config import RunConfig


def run(
    methods: Methods = None,
    dataset: Datasets = None,
    backbone: Backbone = None,
    seeds: Seeds = None,
    suite: SuiteName = None,
    set_: Set = None,
    learning_rates: LearningRates = None,
    out: Out = Path("results"),
    config: Annotated[
        Path | None, typer.Option("--config", help="Rebuild one run from its config.yaml.")
    ] = None,
    device: Device = "auto",
    workers: Workers = None,
    decoder: Decoder = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    max_unreadable: MaxUnreadable = 0.1,
    quiet: Quiet = False,
) -> None:
    """Train and test methods in lockstep. Without arguments: the embedded demo.

    What is done is not run again; what was interrupted goes on from its last checkpoint.
    """
    from petl_bench.suite import expand, read_run_config

    if config:
        if methods or dataset or backbone or seeds or suite or set_ or learning_rates:
            raise UserError("--config rebuilds a run as it was: leave out the other choices, or --config.")
        configs = [read_run_config(config)]
    else:
        configs = expand(make_request(suite, methods, dataset, backbone, seeds, set_, learning_rates))
    _train(configs, out, device, workers, decoder, threads, quiet, overwrite, max_unreadable)


def _train(
    configs: list[RunConfig],
    out: Path,
    device: str,
    workers: int | None,
    decoder: str,
    threads: int | None,
    quiet: bool,
    overwrite: bool,
    max_unreadable: float,
) -> None:
    from petl_bench.train.run import Interrupted, run_all

    check_out(out)
    options = make_options(out, device, workers, decoder, threads, quiet, overwrite, max_unreadable)
    try:
        with options.display:
            records = run_all(configs, options)
    except (Interrupted, KeyboardInterrupt):
        typer.echo("Stopped. What was trained is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    failed = [r for r in records if r.status == "failed"]
    for record in failed:
        typer.echo(f"{record.label} (seed {record.seed}) failed: {record.error}", err=True)
    if not quiet:
        _print_outcome(records)
        done = len(records) - len(failed)
        where = "" if out == Path("results") else f" --results {shlex.quote(str(out))}"
        suites = " ".join(sorted({r.suite for r in records}))
        typer.echo(
            f"{done} run{'' if done == 1 else 's'} under {out}/. Next: petl-bench report {suites}{where}"
        )
    if failed:
        raise typer.Exit(1)


def _print_outcome(records: list[Any]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("data set", "method", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("top-1", "trained", "compute s"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in records:
        if r.metrics and r.cost:
            trained = f"{r.cost.trainable_params_without_head:,}"
            row = (f"{r.metrics.top1:.1f} %", trained, f"{r.cost.compute_seconds:.0f}")
            table.add_row(r.dataset, r.label, str(r.seed), *row)
    make_console().print(table)


def tune(
    grid: Annotated[
        str, typer.Option("--grid", help="Comma-separated learning rates, the same for every method.")
    ],
    methods: Methods = None,
    dataset: Datasets = None,
    backbone: Backbone = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    suite: SuiteName = None,
    set_: Set = None,
    out: Out = Path("results"),
    device: Device = "auto",
    workers: Workers = None,
    decoder: Decoder = "auto",
    threads: Threads = None,
    max_unreadable: MaxUnreadable = 0.1,
    quiet: Quiet = False,
) -> None:
    """Choose each method's learning rate on the validation part, with one grid. Never touches the test split."""
    from petl_bench.train.run import Interrupted
    from petl_bench.train.tune import tune as search

    try:
        rates = [float(g) for g in split(grid, "--grid") or []]
    except ValueError:
        raise UserError(f"--grid {grid}: expected comma-separated numbers, such as 1e-3,3e-3,1e-2.") from None
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise UserError(f"--grid {grid}: learning rates are positive numbers.")
    check_out(out)
    request = make_request(suite, methods, dataset, backbone, str(seed), set_)
    options = make_options(out, device, workers, decoder, threads, quiet, False, max_unreadable)
    try:
        with options.display:
            files = search(request, sorted(set(rates)), options)
    except (Interrupted, KeyboardInterrupt):
        typer.echo("Stopped. What was trained is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    for file in files:
        if not quiet:
            _print_rates(file)
        typer.echo(f"Wrote {file}")
    names = shlex.quote(",".join(map(str, files)))
    typer.echo(f"Next: petl-bench run with the same choices and --learning-rates {names}")


def _print_rates(file: Path) -> None:
    """A search: top-1 on the validation part for each method and rate, the chosen one marked."""
    from rich.table import Table
    from rich.text import Text

    from petl_bench.config import LearningRates, read_yaml, validated

    found = validated(LearningRates, read_yaml(file), str(file))
    grid = [f"{rate:g}" for rate in found.grid]
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column(f"{found.dataset}, validation top-1 %", no_wrap=True)
    for rate in grid:
        table.add_column(rate, justify="right", no_wrap=True)
    for label, scores in found.validation_top1.items():
        chosen = f"{found.chosen[label]:g}"
        cells = [Text(f"{scores[rate]:.1f}{' <' if rate == chosen else '  '}") for rate in grid]
        table.add_row(label, *cells)
    make_console().print(table)


def pretrain(
    config: Annotated[
        str, typer.Option("--config", help="A name under configs/pretrain or a YAML file.")
    ] = "tiny_clip",
    out: Annotated[Path, typer.Option("--out", help="Folder of the weights, the card and the log.")] = Path(
        "weights"
    ),
    set_: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE. Repeatable.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Pretrain the tiny CLIP on rendered stills with captions. Resumable."""
    from petl_bench.config import parse_set
    from petl_bench.display import make_display
    from petl_bench.pretrain import Progress, load_pretrain_config
    from petl_bench.pretrain import pretrain as train_clip

    changes = parse_set([f"pretrain.{change}" for change in set_ or []]).get("pretrain", {})
    settings = load_pretrain_config(config, changes)
    console = make_console()
    display = make_display(console, quiet)

    def show(p: Progress) -> None:
        display.note(f"loss {p.loss:.3f}  {p.stills_per_second:,.0f} stills/s")
        display.advance(p.step)

    try:
        with display:
            display.begin(f"pretrain {settings.name}", settings.steps)
            result = train_clip(settings, out, device=device, progress=show)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from the last checkpoint.", err=True)
        raise typer.Exit(130) from None
    for key, value in result.items():
        console.print(
            f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}", highlight=False
        )
