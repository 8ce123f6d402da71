"""The command line: a thin layer over the Python functions."""

from __future__ import annotations

import sys

import typer

from petl_bench import cli_datasets, cli_show, cli_train
from petl_bench.cli_options import Command
from petl_bench.errors import UserError

app = typer.Typer(
    name="petl-bench",
    help="Compare parameter-efficient ways of adapting image models to video, in one fair and fast loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(cls=Command)(cli_train.run)
app.command(cls=Command)(cli_train.tune)
app.command(cls=Command)(cli_show.report)
app.command(cls=Command)(cli_show.methods)
app.command(cls=Command)(cli_show.check)
app.add_typer(cli_datasets.app, name="datasets")
app.command(cls=Command)(cli_show.profile)
app.command(cls=Command)(cli_train.pretrain)


def main() -> None:
    """The entry point: user errors become one message and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"petl-bench: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
