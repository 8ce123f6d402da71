"""The command line: a thin layer over the Python functions."""

from __future__ import annotations

import sys

import typer

from petl_bench import cli_datasets, cli_show, cli_train
from petl_bench.cli_options import Command
from petl_bench.errors import UserError
from petl_bench.machine import MachineError, as_machine_error, is_of_machine

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
    """The entry point: user errors become one message and exit code 2, or 75 where the machine failed and the same
    command may succeed later (EX_TEMPFAIL)."""
    try:
        app()
    except (MachineError, OSError, MemoryError) as error:
        if not is_of_machine(error):
            raise
        told = as_machine_error(error, getattr(error, "filename", None) or "petl-bench")
        typer.echo(
            f"petl-bench: {str(told).rstrip('.')}. This is an error of the machine. What is done is kept: the same "
            "command goes on from there.",
            err=True,
        )
        sys.exit(75)
    except UserError as error:
        typer.echo(f"petl-bench: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
