"""The command line: a thin layer over the Python functions. torch is imported by the commands that need it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petl_bench import cli_datasets
from petl_bench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from petl_bench.config import RunConfig
    from petl_bench.report.judge import Judged
    from petl_bench.suite import Request
    from petl_bench.train.run import Options

app = typer.Typer(
    name="petl-bench",
    help="Compare parameter-efficient ways of adapting image models to video, in one fair and fast loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cli_datasets.app, name="datasets")

Methods = Annotated[str | None, typer.Option("--methods", help="Comma-separated names, or [bold]all[/].")]
Datasets = Annotated[str | None, typer.Option("--dataset", help="Comma-separated names, or a YAML file.")]
Backbone = Annotated[
    str | None, typer.Option("--backbone", help="A backbone's name, timm:NAME, or a YAML file.")
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Comma-separated integers.")]
SuiteName = Annotated[str | None, typer.Option("--suite", help="A suite's name or YAML file. Default: demo.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="PLACE.FIELD=VALUE; PLACE is recipe, dataset, backbone or a method. Repeatable."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The results folder.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Decoding processes. Default: by cores.")
]
Decoder = Annotated[str, typer.Option("--decoder", help="auto, decord, pyav or torchcodec.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of the training.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Run again what is done, in place of what is there.")
]


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _split(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _integers(text: str | None, flag: str) -> list[int] | None:
    try:
        return [int(part) for part in _split(text) or []] or None
    except ValueError:
        raise UserError(f"{flag} {text}: expected comma-separated integers, such as 0,1,2.") from None


def _request(
    suite: str | None,
    methods: str | None,
    dataset: str | None,
    backbone: str | None,
    seeds: str | None,
    set_: Any,
) -> Request:
    from petl_bench.suite import Request

    return Request(
        suite, _split(methods), _split(dataset), backbone, _integers(seeds, "--seeds"), list(set_ or [])
    )


def _options(
    out: Path,
    device: str,
    workers: int | None,
    decoder: str,
    threads: int | None,
    quiet: bool,
    overwrite: bool,
) -> Options:
    import torch

    from petl_bench.display import make_display
    from petl_bench.train.run import Options

    if threads:
        torch.set_num_threads(threads)
    return Options(
        out, device, workers, decoder, overwrite=overwrite, display=make_display(_console(), quiet)
    )


@app.command()
def run(
    methods: Methods = None,
    dataset: Datasets = None,
    backbone: Backbone = None,
    seeds: Seeds = None,
    suite: SuiteName = None,
    set_: Set = None,
    out: Out = Path("results"),
    config: Annotated[
        Path | None, typer.Option("--config", help="Rebuild one run from its config.yaml.")
    ] = None,
    device: Device = "auto",
    workers: Workers = None,
    decoder: Decoder = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train and test methods in lockstep. Without arguments: the embedded demo.

    What is done is not run again; what was interrupted goes on from its last checkpoint.
    """
    from petl_bench.suite import expand, read_run_config

    if config:
        if methods or dataset or backbone or seeds or suite or set_:
            raise UserError("--config rebuilds a run as it was: leave out the other choices, or --config.")
        configs = [read_run_config(config)]
    else:
        configs = expand(_request(suite, methods, dataset, backbone, seeds, set_))
    _train(configs, out, device, workers, decoder, threads, quiet, overwrite)


def _train(
    configs: list[RunConfig],
    out: Path,
    device: str,
    workers: int | None,
    decoder: str,
    threads: int | None,
    quiet: bool,
    overwrite: bool,
) -> None:
    from petl_bench.train.run import Interrupted, run_all

    options = _options(out, device, workers, decoder, threads, quiet, overwrite)
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
        suites = sorted({r.suite for r in records})
        typer.echo(
            f"{len(records) - len(failed)} runs under {out}/. Next: petl-bench report {' '.join(suites)}"
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
    _console().print(table)


@app.command()
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
    quiet: Quiet = False,
) -> None:
    """Choose each method's learning rate on the validation part, with one grid. Never touches the test split."""
    from petl_bench.train.run import Interrupted
    from petl_bench.train.tune import tune as search

    try:
        rates = [float(g) for g in _split(grid) or []]
    except ValueError:
        raise UserError(f"--grid {grid}: expected comma-separated numbers, such as 1e-3,3e-3,1e-2.") from None
    if not rates or min(rates) <= 0:
        raise UserError(f"--grid {grid}: learning rates are positive numbers.")
    request = _request(suite, methods, dataset, backbone, str(seed), set_)
    options = _options(out, device, workers, decoder, threads, quiet, False)
    try:
        with options.display:
            files = search(request, sorted(set(rates)), options)
    except (Interrupted, KeyboardInterrupt):
        typer.echo("Stopped. What was trained is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    for file in files:
        typer.echo(f"Wrote {file}")


@app.command()
def report(
    suites: Annotated[
        list[str] | None, typer.Argument(help="Suites. Default: every one that has results.")
    ] = None,
    results: Annotated[Path, typer.Option("--results", help="The results folder.")] = Path("results"),
    out: Annotated[Path, typer.Option("--out", help="Where reports go.")] = Path("reports"),
    paper: Annotated[
        Path | None, typer.Option("--paper", help="A YAML file of published numbers, over the shipped ones.")
    ] = None,
    claims: Annotated[
        Path | None, typer.Option("--claims", help="A YAML file of claims. Default: the paper's findings.")
    ] = None,
) -> None:
    """Tables, plots and verdicts on the paper's claims, from run folders. Works without torch."""
    from petl_bench.report import find_suites, load_claims, render_report, write_claims

    names = suites or find_suites(results)
    known = load_claims(claims)
    console = _console()
    judged: list[Judged] = []
    for name in names:
        made = render_report(results, out, name, paper, known)
        judged += made.judged
        console.print(made)
        console.print(f"{len(made.files)} files in {out / name}/", highlight=False)
    if len(names) > 1:
        page, *_ = write_claims(out, known, judged)
        console.print(f"The claims of all suites: {page}", highlight=False)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One method, explained.")] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="For the counts.")] = "tiny_clip",
) -> None:
    """List the tuning methods, or explain one with its settings."""
    from petl_bench.listing import explain_method, list_methods

    console = _console()
    console.print(explain_method(name, backbone) if name else list_methods(backbone, console.width))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A method.")],
    set_: Set = None,
) -> None:
    """Run the contract on one method and say what holds."""
    from petl_bench.config import parse_set
    from petl_bench.errors import unknown_name
    from petl_bench.registry import find_method

    find_method(name)
    changes = parse_set(list(set_ or []))
    for place in changes:
        if place != name:
            raise unknown_name("place in --set", place, [name])
    from rich.markup import escape

    from petl_bench.contract import check_method

    checks = check_method(name, changes.get(name))
    console = _console()
    for c in checks:
        mark = "[green]holds[/]" if c.ok else "[red]fails[/]"
        console.print(f"{mark}  {c.name}: [dim]{escape(c.detail)}[/]", highlight=False)
    if not all(c.ok for c in checks):
        raise typer.Exit(1)


@app.command()
def profile(
    methods: Methods = "all",
    dataset: Datasets = None,
    backbone: Backbone = None,
    suite: SuiteName = None,
    set_: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a list of rows.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows to a CSV file as well.")] = None,
) -> None:
    """Parameters, FLOPs and sizes of methods, without weights, data or training."""
    import json

    from petl_bench.profile_table import costs_of, profile_csv, profile_table
    from petl_bench.results import write_atomic

    request = _request(suite, methods, dataset or (None if suite else "synth_motion"), backbone, None, set_)
    rows = costs_of(request)
    if csv:
        write_atomic(csv, profile_csv(rows))
    if as_json:
        typer.echo(json.dumps([row.fields() for row in rows], indent=1))
    else:
        _console().print(profile_table(rows))


@app.command()
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
    console = _console()
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


def main() -> None:
    """The entry point: user errors become one message and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"petl-bench: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
