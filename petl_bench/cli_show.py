"""Commands that show: report, methods, check, profile. torch is imported by those that need it, when they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petl_bench.cli_options import Backbone, Datasets, Methods, Set, make_console, make_request

if TYPE_CHECKING:
    from petl_bench.report.judge import Judged


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
    console = make_console()
    judged: list[Judged] = []
    for name in names:
        made = render_report(results, out, name, paper, known)
        judged += made.judged
        console.print(made)
        console.print(f"{len(made.files)} files in {out / name}/", highlight=False)
    if len(names) > 1:
        page, *_ = write_claims(out, known, judged)
        console.print(f"The claims of all suites: {page}", highlight=False)


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, explained.")] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="For the counts.")] = "tiny_clip",
) -> None:
    """List the tuning methods, or explain one with its settings."""
    from petl_bench.listing import explain_method, list_methods

    console = make_console()
    console.print(explain_method(name, backbone) if name else list_methods(backbone, console.width))


def check(
    name: Annotated[str, typer.Argument(help="A method.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME.SETTING=VALUE. Repeatable.")] = None,
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
    console = make_console()
    for c in checks:
        mark = "[green]holds[/]" if c.ok else "[red]fails[/]"
        console.print(f"{mark}  {c.name}: [dim]{escape(c.detail)}[/]", highlight=False)
    if not all(c.ok for c in checks):
        raise typer.Exit(1)


def profile(
    methods: Methods = "all",
    dataset: Datasets = None,
    backbone: Backbone = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="A suite's name or YAML file, instead of methods and data sets."),
    ] = None,
    set_: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a list of rows.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows to a CSV file as well.")] = None,
) -> None:
    """Parameters, FLOPs and sizes of methods, without weights, data or training."""
    import json

    from petl_bench.profile_table import costs_of, profile_csv, profile_table
    from petl_bench.results import write_atomic

    request = make_request(
        suite, methods, dataset or (None if suite else "synth_motion"), backbone, None, set_
    )
    rows = costs_of(request)
    if csv:
        write_atomic(csv, profile_csv(rows))
    if as_json:
        typer.echo(json.dumps([row.fields() for row in rows], indent=1))
    else:
        make_console().print(profile_table(rows))
