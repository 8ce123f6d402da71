"""`petl-bench datasets`: what there is, whether it decodes, and configs for own data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from petl_bench.cli_options import Command
from petl_bench.cli_prepare import prepare
from petl_bench.errors import UserError, unknown_name

app = typer.Typer(
    help="List data sets; check that their clips decode; prepare their frames; add own ones.",
    add_completion=False,
    rich_markup_mode="rich",
)


app.command(cls=Command)(prepare)


@app.callback(invoke_without_command=True)
def datasets(context: typer.Context) -> None:
    """List the data sets: clips, classes, and whether their files are here."""
    if context.invoked_subcommand is None:
        from rich.console import Console

        from petl_bench.datasets_table import list_datasets

        Console().print(list_datasets())


@app.command(cls=Command)
def check(
    name: Annotated[str, typer.Argument(help="A data set's name or YAML file.")],
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes. Default: cores.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for one clip.")] = 60.0,
    decoder: Annotated[str, typer.Option("--decoder", help="As for `run`.")] = "auto",
    again: Annotated[bool, typer.Option("--again", help="Check all clips, also those known.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="dataset.FIELD=VALUE. Repeatable.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Decode what training would decode of every clip; write a report and the skip list that training obeys.

    Survives clips that crash or hang the decoder. What is known of files that have not changed is kept, so an
    interrupted check goes on.
    """
    from rich.console import Console

    from petl_bench.config import parse_set
    from petl_bench.data.check import check_clips
    from petl_bench.data.rendered import cores
    from petl_bench.data.sources import list_clips
    from petl_bench.dataset_config import data_root
    from petl_bench.display import Passes, make_display
    from petl_bench.suite import load_dataset

    changes = parse_set(list(set_ or []))
    for place in changes:
        if place != "dataset":
            raise unknown_name("place in --set", place, ["dataset"])
    config, _ = load_dataset(name, changes.get("dataset", {}))
    console = Console()
    display = make_display(console, quiet)
    passes = Passes(display)

    def told(done: int, total: int, bad: int) -> None:
        passes(f"check {config.name}", done, total, f"{bad:,} not decodable" if bad else "")

    try:
        with display:
            listed = list_clips(config, lambda done, total, text: passes(text, done, total))
            report = check_clips(
                config,
                listed,
                data_root(config),
                jobs=jobs or cores(),
                timeout=timeout,
                decoder=decoder,
                again=again,
                told=told,
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. What was checked is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    from petl_bench.data.census import take_census
    from petl_bench.data.skips import read_skips, without_skips
    from petl_bench.datasets_table import check_summary

    skips = read_skips(config, data_root(config))
    train, test = (
        without_skips(part.clips, skips, listed.shared_ids) for part in (listed.train, listed.test)
    )
    census = take_census(listed, train, test, config.heads, contents=True)
    console.print(check_summary(report, census), soft_wrap=True)


@app.command(cls=Command)
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    root: Annotated[Path, typer.Option("--root", help="The folder of the data.")],
    train: Annotated[
        str | None,
        typer.Option("--train", help="The list, CSV or folder of training clips, where it is not found."),
    ] = None,
    test: Annotated[str | None, typer.Option("--test", help="The same of test clips.")] = None,
    videos: Annotated[
        str | None, typer.Option("--videos", help="The folder that paths in lists are relative to.")
    ] = None,
    summary: Annotated[str, typer.Option("--summary", help="A line about it.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="The YAML file. Default: where NAME is found by name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a config for own data: text lists, CSV files or class folders."""
    from petl_bench.config import packaged_names
    from petl_bench.data.census import take_census
    from petl_bench.data.custom import config_text, describe, planned
    from petl_bench.dataset_config import data_home
    from petl_bench.results import write_atomic

    if not re.fullmatch(r"[\w.@+~=-]+", name):
        raise UserError(
            f"{name!r} cannot be a name: letters, digits and . _ - + = @ ~ only; it becomes a folder."
        )
    if name in packaged_names("datasets"):
        raise UserError(f"{name!r} is the name of a data set of petl-bench. Choose another.")
    file = out or data_home() / name / "dataset.yaml"
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out {file}: the file must end in .yaml.")
    if file.exists() and not force:
        raise UserError(
            f"{file} is there already. Pass --force to replace it, or choose another name or --out."
        )
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise UserError(f"--root {root}: there is no such folder.")
    given = {"train": train, "test": test, "videos": videos}
    given = {key: _place(root, value, f"--{key}") for key, value in given.items() if value is not None}
    found = describe(name, root, given)
    write_atomic(file, config_text(name, root, found, summary))
    listed = found.listed
    for split, files in (("training", listed.train), ("test", listed.test)):
        lost = f", {len(files.missing):,} more have no file" if files.missing else ""
        typer.echo(f"{len(files.clips):,} {split} clips{lost}")
    typer.echo(
        f"{found.classes} classes: {', '.join(listed.class_names[:6])}{', ...' if found.classes > 6 else ''}"
    )
    typer.echo(f"A recipe by size: {planned(found)}")
    census = take_census(listed, listed.train.clips, listed.test.clips, {}, contents=True)
    for line in census.lines():
        typer.echo(line)
    typer.echo(f"Wrote {file}")
    known_as = str(file) if out else name
    typer.echo(f"Next: petl-bench datasets check {known_as}; petl-bench run --dataset {known_as}")


def _place(root: Path, text: str, flag: str) -> str:
    """What a flag names: a path below the root, or one from here, then absolute."""
    if (root / text).exists():
        return text
    here = Path(text).expanduser().absolute()
    if not here.exists():
        raise UserError(f"{flag} {text}: neither {root / text} nor {here} is there.")
    return str(here)
