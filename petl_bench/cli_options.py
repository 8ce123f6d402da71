"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from petl_bench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from petl_bench.suite import Request
    from petl_bench.train.run import Options

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
LearningRates = Annotated[
    str | None,
    typer.Option(
        "--learning-rates",
        help="Files of [bold]tune[/], comma-separated: the rate that was chosen for each method.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The results folder.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Decoding processes. Default: by cores.")
]
Decoder = Annotated[str, typer.Option("--decoder", help="auto, decord, pyav or torchcodec.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of the training.")]
MaxUnreadable = Annotated[
    float,
    typer.Option(
        "--max-unreadable",
        min=0,
        max=1,
        help="Share of the clips of an epoch, a validation or a test that may be broken; with more, the run fails.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Run again what is done, in place of what is there.")
]


class Command(TyperCommand):
    """A command that takes an option that is not a list once. Click lets the last one win, so that what came before
    is lost without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for one in given:
            if one.param_type_name == "option" and not one.multiple and given.count(one) > 1:
                raise UserError(f"{one.opts[0]} is given more than once.")
        return super().parse_args(ctx, args)


def make_console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def split(text: str | None, flag: str) -> list[str] | None:
    """The parts of a comma-separated list; None where it was not given."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"{flag} {text!r}: a name is empty. Leave {flag} out for the default.")
    return parts


def integers(text: str | None, flag: str) -> list[int] | None:
    try:
        parts = split(text, flag)
        return None if parts is None else [int(part) for part in parts]
    except ValueError:
        raise UserError(f"{flag} {text}: expected comma-separated integers, such as 0,1,2.") from None


def make_request(
    suite: str | None,
    methods: str | None,
    dataset: str | None,
    backbone: str | None,
    seeds: str | None,
    set_: Any,
    learning_rates: str | None = None,
) -> Request:
    from petl_bench.suite import Request

    for flag, value in (("--suite", suite), ("--backbone", backbone)):
        if value is not None and not value.strip():
            raise UserError(f"{flag} is empty. Leave it out for the default.")
    return Request(
        suite,
        split(methods, "--methods"),
        split(dataset, "--dataset"),
        backbone,
        integers(seeds, "--seeds"),
        list(set_ or []),
        split(learning_rates, "--learning-rates") or [],
    )


def check_out(out: Path) -> None:
    """UserError where a folder cannot be made: found now rather than after the data is there."""
    place = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not place.is_dir():
        raise UserError(f"--out {out}: {place} is a file, not a folder.")
    if not os.access(place, os.W_OK):
        raise UserError(f"--out {out}: {place} cannot be written to.")


def make_options(
    out: Path,
    device: str,
    workers: int | None,
    decoder: str,
    threads: int | None,
    quiet: bool,
    overwrite: bool,
    max_unreadable: float,
) -> Options:
    import torch

    from petl_bench.display import make_display
    from petl_bench.train.run import Options

    if threads:
        torch.set_num_threads(threads)
    if not 0 <= max_unreadable <= 1:  # nan gets past the option's own bounds
        raise UserError(f"--max-unreadable {max_unreadable}: expected a share, 0 to 1.")
    return Options(
        out,
        device,
        workers,
        decoder,
        overwrite=overwrite,
        max_unreadable=max_unreadable,
        display=make_display(make_console(), quiet),
    )
