"""`petl-bench datasets prepare`: frames of all clips kept for training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petl_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from petl_bench.dataset_config import DatasetConfig


def prepare(
    name: Annotated[str, typer.Argument(help="A data set's name or YAML file.")],
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes. Default: cores.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="jpeg (default), or raw: exact, and many times the bytes.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG. Default: 90.")
    ] = None,
    short_side: Annotated[
        int | None, typer.Option("--short-side", min=16, help="Shrink larger frames to it, pixels.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the cache. Default: in that of the data set.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for one clip.")] = 600.0,
    decoder: Annotated[str, typer.Option("--decoder", help="As for `run`.")] = "auto",
    again: Annotated[bool, typer.Option("--again", help="Delete what is prepared, begin anew.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is prepared; mend what is broken.")
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="dataset.FIELD=VALUE. Repeatable.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Decode every clip once and keep its frames, so that training reads those that it needs and no others.

    Training uses them by itself. Stopped or killed, the same command goes on; clips that fail stay with the decoder.
    """
    from rich.console import Console

    from petl_bench.config import parse_set
    from petl_bench.data.prepare import Wanted, prepare_clips
    from petl_bench.data.rendered import cores
    from petl_bench.data.sources import list_clips
    from petl_bench.dataset_config import data_root
    from petl_bench.datasets_table import prepare_summary
    from petl_bench.display import Passes, make_display
    from petl_bench.suite import load_dataset

    changes = parse_set(list(set_ or []))
    for place in changes:
        if place != "dataset":
            raise unknown_name("place in --set", place, ["dataset"])
    if format_ not in (None, "jpeg", "raw"):
        raise unknown_name("format", str(format_), ["jpeg", "raw"])
    if format_ == "raw" and quality is not None:
        raise UserError("--quality is of JPEG; leave it out with --format raw.")
    config, _ = load_dataset(name, changes.get("dataset", {}))
    folder, usual = _folder(config, out)
    console = Console()
    display = make_display(console, quiet)
    passes = Passes(display)

    def told(task: str, done: int, total: int, failed: int) -> None:
        why = "broken" if task == "verify" else "failed"
        passes(task, done, total, f"{failed:,} {why}" if failed else "")

    try:
        with display:
            listed = list_clips(config, lambda done, total, text: passes(text, done, total))
            done = prepare_clips(
                config,
                listed,
                data_root(config),
                folder,
                Wanted(format_, quality, short_side),
                jobs=jobs or cores(),
                timeout=timeout,
                decoder=decoder,
                again=again,
                verify=verify,
                told=told,
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. What is prepared is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    use = (
        "Training uses them by itself; `--set dataset.prepared=off` goes without."
        if usual
        else f"Training uses them with `--set dataset.prepared={folder}`."
    )
    console.print(prepare_summary(done, use), soft_wrap=True)


def _folder(config: DatasetConfig, out: Path | None) -> tuple[Path, bool]:
    """Where the cache is made, and whether training looks there by itself."""
    from petl_bench.data.prepared import CARD, cache_places
    from petl_bench.dataset_config import data_root

    if out is not None:
        return out.expanduser().absolute(), False
    if config.prepared == "off":
        raise UserError("dataset.prepared is off: leave it out, or name a folder with --out.")
    if config.prepared is not None:
        return Path(config.prepared).expanduser().absolute(), False
    places = cache_places(config, data_root(config))
    there = (place for place in places if (place / CARD).exists() and os.access(place, os.W_OK))
    return next(there, places[0]), True
