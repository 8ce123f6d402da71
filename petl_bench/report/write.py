"""`render_report`: run folders in, a folder of tables and pictures out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from petl_bench.report.cautions import cautions_of
from petl_bench.report.claim_text import ClaimsTable, claims_csv
from petl_bench.report.claims import Claims, load_claims
from petl_bench.report.collect import Comparison, compare
from petl_bench.report.curves import curves_of
from petl_bench.report.figure import Colors, drawing, file_name, not_drawable, save
from petl_bench.report.figure import colors as colors_of
from petl_bench.report.judge import Judged, judge
from petl_bench.report.notes import findings, legend, not_counted
from petl_bench.report.page import page, section
from petl_bench.report.paper_numbers import load_paper
from petl_bench.report.plot_classes import class_map
from petl_bench.report.plot_curves import training_curves
from petl_bench.report.plot_pairs import pair_dots
from petl_bench.report.plot_tradeoff import COMPUTE, PARAMETERS, tradeoff
from petl_bench.report.published import published_grids
from petl_bench.report.runs import read_runs
from petl_bench.report.sweeps import main_rows, whole_rows
from petl_bench.report.table import (
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    per_class_csv,
    runs_csv,
)
from petl_bench.report.terminal import TerminalTable
from petl_bench.report.write_claims import claims_section
from petl_bench.report.write_studies import write_studies
from petl_bench.results import write_atomic


@dataclass(frozen=True)
class Report:
    """What was written, and the same for a terminal: `console.print(report)`."""

    suite: str
    folder: Path
    tables: tuple[TerminalTable, ...]
    files: tuple[Path, ...]  # report.md first
    warnings: tuple[str, ...] = field(default=())
    judged: tuple[Judged, ...] = ()
    notice: str = ""  # of the pictures themselves

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in self.tables:
            yield table
            yield Text("")
        yield ClaimsTable(self.suite, self.judged)
        if self.notice:
            yield Text(self.notice)


def render_report(
    results: Path, out: Path, suite: str, paper: Path | None = None, claims: Claims | None = None
) -> Report:
    """Turn the runs of a suite into tables and pictures under `out/<suite>/`. Needs no torch.

    The same runs give the same bytes, with the same version of matplotlib.

    Args:
        results: folder of run folders, `<suite>/<dataset>/<label>/seed-<n>/`.
        out: folder of reports.
        suite: which suite.
        paper: published numbers, laid over those of the package.
        claims: to judge; default: those of the package.

    Raises:
        UserError: no runs, a record or the paper's file that cannot be read.
    """
    numbers = load_paper(paper)
    comparisons = compare(read_runs(results, suite), numbers)
    palette = colors_of([row.label for comparison in comparisons for row in comparison.rows])
    folder = out / suite
    files: list[Path] = []
    tables: list[TerminalTable] = []
    warnings: list[str] = []
    sections: list[str] = []
    contents: dict[str, str] = {}
    for comparison in comparisons:
        cautions = tuple(cautions_of(comparison))
        written = _tables(folder, comparison)
        pictures = _pictures(folder, comparison, palette)
        studies = write_studies(folder, comparison, palette)
        written += [study.table for study in studies]
        files += [*written, *pictures, *(path for study in studies for path in study.pictures)]
        shown = {path.name: says for path, says in pictures.items() if path.suffix == ".png"}
        main = main_rows(comparison)
        published = published_grids(main, numbers)
        names = [path.name for path in written]
        sections.append(section(comparison, cautions, shown, studies, published, names))
        # the first picture's title is the data set's result in a sentence
        result = next(iter(shown.values()), "no finished run").removeprefix(f"{comparison.name}: ")
        contents[comparison.name] = result + (" (read the warnings)" if cautions else "")
        left_out = (f"not in the table: {line}" for line in not_counted(comparison))
        notes = (*findings(main), *left_out)
        tables.append(TerminalTable(suite, main, cautions, notes, tuple(study.grid for study in studies)))
        warnings += [f"{comparison.name}: {c.headline}: {line}" for c in cautions for line in c.lines]
    judged = tuple(judge(claims or load_claims(), suite, comparisons))
    if judged:
        write_atomic(folder / "claims.csv", claims_csv(judged))
        files.append(folder / "claims.csv")
    # last, so that the page never points to files that are not there yet
    write_atomic(folder / "report.md", page(suite, contents, claims_section(judged), sections))
    files.insert(0, folder / "report.md")
    return Report(suite, folder, tuple(tables), tuple(files), tuple(warnings), judged, _notice(comparisons))


def _notice(comparisons: Sequence[Comparison]) -> str:
    rows = [row for comparison in comparisons for row in comparison.rows]
    missing = not_drawable("".join(text for row in rows for text in (row.label, *row.per_class)))
    if not missing:
        return ""
    return f"Pictures have boxes for letters that no font here has ({missing}): install one, such as Noto Sans CJK."


def _tables(folder: Path, comparison: Comparison) -> list[Path]:
    name = file_name(comparison.name)
    texts: dict[str, str] = {}
    if comparison.rows:
        texts[f"table_{name}.md"] = comparison_markdown(comparison)
        texts[f"table_{name}.tex"] = comparison_latex(
            comparison, [*findings(comparison), *legend(comparison)]
        )
        texts[f"table_{name}.csv"] = comparison_csv(comparison)
    if any(row.per_class for row in comparison.rows):
        texts[f"classes_{name}.csv"] = per_class_csv(comparison.rows)
    runs = [*(run for row in comparison.rows for run in row.runs), *comparison.unfinished]
    texts[f"runs_{name}.csv"] = runs_csv(sorted(runs, key=lambda run: (run.record.label, run.record.seed)))
    for file, text in texts.items():
        write_atomic(folder / file, text)
    return [folder / file for file in texts]


def _pictures(folder: Path, comparison: Comparison, palette: Colors) -> dict[Path, str]:
    """Draw and write the pictures. Returns file -> what it shows."""
    if not comparison.rows:
        return {}
    main, whole = main_rows(comparison), whole_rows(comparison)
    curves = {row.label: curves_of(row) for row in main.rows}
    pictures: dict[str, Callable[[], Figure | None]] = {
        "accuracy_params": lambda: tradeoff(whole, PARAMETERS, palette),
        "accuracy_compute": lambda: tradeoff(whole, COMPUTE, palette),
        "curves": lambda: training_curves(main, curves, palette),
        "pairs": lambda: pair_dots(main, palette),
        "classes": lambda: class_map(main),
    }
    out: dict[Path, str] = {}
    for stem, draw in pictures.items():
        with drawing():
            figure = draw()
            if figure is None:
                continue
            for path in save(figure, folder / f"{stem}_{file_name(comparison.name)}"):
                out[path] = str(figure.get_label())
    return out
