"""What `datasets` and `datasets check` print."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from petl_bench.config import config_names, load_named
from petl_bench.data import dataset_state
from petl_bench.data.census import Census
from petl_bench.data.check import SKIPPED, Report
from petl_bench.data.prepare import Prepared
from petl_bench.dataset_config import data_home
from petl_bench.display import clock_text
from petl_bench.errors import UserError
from petl_bench.suite import load_dataset

SHOWN = 5  # clips that cannot be decoded, with their reasons


def list_datasets() -> RenderableType:
    """A row for each data set: what it is, how large, and whether it is here."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("data set", no_wrap=True, style="bold")
    table.add_column("clips", justify="right", no_wrap=True)
    table.add_column("classes", justify="right", no_wrap=True)
    table.add_column("state")
    for name in config_names("datasets"):
        summary, clips, classes = "", "", ""
        try:
            summary = str(load_named("datasets", name).get("summary", ""))
            config, _ = load_dataset(name)
        except UserError as error:
            state = str(error).splitlines()[0].removeprefix(f"Data set {name!r} was ")
        else:
            found = dataset_state(config)
            clips, classes = "" if found.clips is None else f"{found.clips:,}", f"{config.classes:,}"
            state = found.state
        below = state.replace(f"{data_home() / name}/", "").replace(str(data_home()), "DATA")
        table.add_row(name, clips, classes, Text.assemble(below, "\n", (summary, "dim")))
    notes = (
        f"DATA is {data_home()} (PETL_BENCH_DATA); a data set's folder is DATA/NAME, or dataset.root. Clips: training "
        "and test, as listed.",
        "petl-bench datasets check NAME decodes all of them; petl-bench datasets prepare NAME keeps their frames, for "
        "faster training; petl-bench datasets add NAME --root FOLDER makes a config for own data.",
    )
    return Group(table, *(Text(note, style="dim") for note in notes))


def check_summary(report: Report, census: Census) -> RenderableType:
    """How many clips are in which state, the first of those that are skipped, what is amiss in the lists, and where
    all of it is written."""
    counts = report.counts
    states = ", ".join(f"{counts[state]:,} {state}" for state in ("ok", *SKIPPED, "missing") if counts[state])
    lines = [Text(states or "no clips")]
    skipped = [result for result in report.results.values() if result.state in SKIPPED]
    for result in skipped[:SHOWN]:
        lines.append(Text(f"  {result.state}  {result.split} {result.path}: {result.reason}"))
    if len(skipped) > SHOWN:
        lines.append(Text(f"  and {len(skipped) - SHOWN:,} more"))
    lines += [Text(line) for line in census.lines()]
    lines.append(Text(f"Report: {report.file}"))
    lines.append(Text(f"Skip list, which training obeys: {report.skip_file}"))
    return Group(*lines)


def prepare_summary(done: Prepared, how_to_use: str) -> Group:
    """What is in a cache, what failed, and how it is used."""
    card, seconds = done.card, max(done.seconds, 1e-9)
    rate = f" ({done.made / seconds:.1f} clips/s)" if done.made else ""
    lines = [
        Text(
            f"{card.clips:,} clips prepared ({card.format.text}), {card.bytes:,} bytes; {done.made:,} of them now, in "
            f"{clock_text(done.seconds)}{rate}"
        )
    ]
    if done.broken:
        lines.append(Text(f"{len(done.broken):,} clips of the cache were broken, and are prepared again:"))
        lines += _some([f"{key[0]}: {reason}" for key, reason in done.broken.items()])
    if done.failed:
        lines.append(Text(f"{len(done.failed):,} failed, and stay with the decoder (failed.csv):"))
        lines += _some([f"{f.state}  {key[0]}: {f.reason}" for key, f in done.failed.items()])
    if done.skipped:
        lines.append(Text(f"Left out, on the skip list of `petl-bench datasets check`: {done.skipped:,}"))
    if done.unclear:
        lines.append(
            Text(
                f"Prepared again, as an older version kept them under ids that two files have: {done.unclear:,} entries"
            )
        )
    if done.missing:
        lines.append(Text(f"Listed, but without a file: {done.missing:,}"))
    return Group(*lines, Text(f"Folder: {done.folder}"), Text(how_to_use))


def _some(lines: list[str]) -> list[Text]:
    more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return [Text(f"  {line}") for line in [*lines[:SHOWN], *more]]
