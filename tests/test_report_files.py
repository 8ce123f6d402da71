"""The report's files: what is written, that it is the same each time, and that it needs no torch."""

from __future__ import annotations

import csv
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_runs import record, training_log, write_run
from rich.console import Console

from petl_bench.report import Report, find_suites, render_report
from petl_bench.report.columns import COLUMNS
from petl_bench.report.table import latex_escape, markdown_table

TOPS = {"st_adapter": (91.0, 92.0, 94.0), "full": (92.5, 93.0, 93.5), "prompt|x": (36.0, 35.0, 37.5)}
COSTS = {"st_adapter": (67_000, 100.0), "full": (1_180_000, 146.0), "prompt|x": (0, 20.0)}
GRID = {"0.001": 80.0, "0.01": 91.0}


def make_results(results: Path) -> None:
    """Three labels x three seeds on one data set; one failed run, one running; a data set without a result."""
    for label, tops in TOPS.items():
        params, seconds = COSTS[label]
        for seed, top1 in enumerate(tops):
            selection = {"grid": [0.001, 0.01], "validation_top1": GRID, "seed": 7, "source": "search.yaml"}
            data = record(
                label, seed, top1, params=params, order_blind=label.startswith("prompt"), selection=selection
            )
            data["cost"]["compute_seconds"] = seconds + seed
            if label.startswith("prompt"):
                data["metrics"]["pair_accuracy"] = 50.0
            write_run(results, data, training_log(top1))
    write_run(results, record("full", 3, status="failed", error="disk full", metrics=None, cost=None))
    write_run(results, record("st_adapter", 3, status="running", metrics=None, cost=None))
    write_run(
        results,
        record("full", 0, status="running", metrics=None, cost=None, dataset="not_yet", provenance=None),
    )


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("report")
    make_results(folder / "results")
    return render_report(folder / "results", folder / "out", "demo")


@pytest.fixture(scope="module")
def text_of(rendered: Report) -> Callable[[str], str]:
    return lambda name: (rendered.folder / name).read_text(encoding="utf-8")


def test_every_file_is_there_and_no_other(rendered: Report) -> None:
    names = {path.name for path in rendered.files}
    pictures = ["accuracy_params", "accuracy_compute", "curves", "pairs", "classes"]
    expected = {f"{stem}_synth_motion.{kind}" for stem in pictures for kind in ("png", "svg")}
    expected |= {f"table_synth_motion.{kind}" for kind in ("md", "tex", "csv")}
    expected |= {"report.md", "runs_synth_motion.csv", "classes_synth_motion.csv", "runs_not_yet.csv"}
    expected |= {"claims.csv"}
    assert names == expected
    assert {path.name for path in rendered.folder.iterdir()} == expected
    assert rendered.files[0].name == "report.md"
    for path in rendered.files:
        if path.suffix == ".svg":
            ElementTree.parse(path)  # well-formed
        if path.suffix == ".png":
            assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_same_runs_give_the_same_bytes(rendered: Report, tmp_path: Path) -> None:
    again = render_report(rendered.folder.parents[1] / "results", tmp_path, "demo")
    for first, second in zip(rendered.files, again.files, strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes(), first.name


def test_no_path_of_this_machine_and_no_date_is_written(rendered: Report) -> None:
    root = str(rendered.folder.parents[1]).encode()
    for path in rendered.files:
        assert root not in path.read_bytes()
        if path.suffix in (".md", ".csv", ".tex", ".svg"):
            assert b"<dc:date>" not in path.read_bytes()


def test_the_page_points_to_files_that_exist(rendered: Report, text_of: Callable[[str], str]) -> None:
    page = text_of("report.md")
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert len(links) > 8
    for link in links:
        assert (rendered.folder / link).is_file()
    for anchor in re.findall(r"\]\(#([^)]+)\)", page):
        assert f"## {anchor}\n" in page.lower()


def test_the_page_says_what_must_be_known(text_of: Callable[[str], str]) -> None:
    page = text_of("report.md")
    for words in (
        "92.3 ± 1.5",  # mean and sample standard deviation of 91, 92, 94
        "over 3 seeds",
        "full, seed 3: failed (disk full)",
        "st_adapter, seed 3: running",
        "prompt\\|x, seed 3: missing",
        "No run on this data set is finished yet.",
        "sha256 abababababab",
        "decord 3.4.0",
        "threads: 2",
        "train 900, test 960",
        "epochs 4, batch_size 8",
        "`search.yaml`",
        "their ceiling of 50 % holds",
    ):
        assert words in page, words
    assert re.search(r"\| full +\| +80\.0 \| \*\*91\.0\*\* \|", page)
    assert max(len(line) for line in page.splitlines() if not line.startswith(("|", "!["))) <= 110


def test_markdown_tables_are_rectangular(text_of: Callable[[str], str]) -> None:
    lines = text_of("table_synth_motion.md").splitlines()
    assert len(lines) == 2 + len(TOPS)
    assert len({len(line) for line in lines}) == 1
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "top-5" not in lines[0]  # no row has it
    assert "paper" not in lines[0]
    assert lines[2].startswith("| full ")
    assert "**93.0 ± 0.5**" in lines[2]


def test_csv_holds_the_raw_numbers(text_of: Callable[[str], str]) -> None:
    rows = {row["label"]: row for row in csv.DictReader(StringIO(text_of("table_synth_motion.csv")))}
    assert list(rows) == ["full", "st_adapter", "prompt|x"]
    for label, tops in TOPS.items():
        row = rows[label]
        assert float(row["top1_mean"]) == pytest.approx(statistics.mean(tops))
        assert float(row["top1_std"]) == pytest.approx(statistics.stdev(tops))
        assert row["top1_n"] == row["n"] == "3"
        assert row["seeds"] == "0 1 2"
        assert row["top5_mean"] == ""
        params, seconds = COSTS[label]
        assert float(row["trainable_params_without_head_mean"]) == params
        assert float(row["compute_seconds_mean"]) == pytest.approx(seconds + 1)
        assert float(row["backbone_share_percent"]) == pytest.approx(params / 1e4)
    runs = list(csv.DictReader(StringIO(text_of("runs_synth_motion.csv"))))
    assert len(runs) == 11
    assert [r["top1"] for r in runs if r["label"] == "full"] == ["92.5", "93", "93.5", ""]
    assert [r["error"] for r in runs if r["status"] == "failed"] == ["disk full"]
    assert runs[0]["folder"] == "demo/synth_motion/full/seed-0"
    classes = list(csv.DictReader(StringIO(text_of("classes_synth_motion.csv"))))
    assert len(classes) == 3 * (4 + 2)


def test_latex_is_balanced_and_escaped(text_of: Callable[[str], str]) -> None:
    tex = text_of("table_synth_motion.tex")
    assert "\\textbf{93.0} $\\pm$ 0.5" in tex
    assert "st\\_adapter" in tex
    assert tex.count("\\begin{tabular}") == tex.count("\\end{tabular}") == 1
    body = [line for line in tex.splitlines() if line.endswith("\\\\")]
    columns = re.search(r"\\begin\{tabular\}\{(l r*|lr*)\}", tex)
    assert columns is not None
    assert {line.count(" & ") for line in body} == {len(columns[1]) - 1}
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%#_]", code)
    assert code.replace("\\{", "").count("{") == code.replace("\\}", "").count("}")
    assert code.count("$") % 2 == 0
    assert latex_escape("a_b & 50% {x} ~^\\ ± °") == (
        r"a\_b \& 50\% \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} $\pm$ $^{\circ}$"
    )


def test_markdown_cells_cannot_break_the_table() -> None:
    assert markdown_table(["a|b", "n"], [["x\ny", "1"]]) == (
        "| a\\|b |   n |\n| ---- | --: |\n| x y  |   1 |\n"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 140, 220])
def test_the_terminal_table_fits_and_keeps_what_matters(rendered: Report, width: int) -> None:
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(rendered)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("method"))
    wanted = ["top-1", "pair", "trained"] if width == 60 else ["top-1", "pair", "trained", "GFLOPs", "train "]
    assert all(word in heading + " " for word in wanted)
    assert ("No room for" in text) is (width < 220)
    assert "failed (disk full)" in text


def test_every_column_has_its_own_rank() -> None:
    ranks = [column.rank for column in COLUMNS]
    assert sorted(ranks) == list(range(len(COLUMNS)))


def test_warnings_stand_before_the_table(tmp_path: Path) -> None:
    write_run(tmp_path / "results", record("a", metrics__per_class={}, metrics__per_pair={}))
    odd = record("b", metrics__per_class={}, metrics__per_pair={}, config__recipe__epochs=30)
    write_run(tmp_path / "results", odd)
    report = render_report(tmp_path / "results", tmp_path / "out", "demo")
    assert report.warnings == ("synth_motion: Accuracies are not comparable: recipe.epochs: 4 in a; 30 in b",)
    page = (report.folder / "report.md").read_text(encoding="utf-8")
    warning = page.index("> **Warning: accuracies are not comparable.**")
    assert warning < page.index("| method")
    assert "n = 1" in page
    assert "±" not in page
    # nothing logged, no classes: those pictures are left out
    assert {p.stem for p in report.files if p.suffix == ".png"} == {
        "accuracy_params_synth_motion",
        "accuracy_compute_synth_motion",
    }


def test_works_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    write_run(tmp_path / "results", record(), training_log(90.0))
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "open_clip", "decord", "av"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from petl_bench.report import find_suites, render_report
(suite,) = find_suites(Path("results"))
print(len(render_report(Path("results"), Path("out"), suite).files), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.split() == ["17", "False"]


def test_suites_are_found(rendered: Report) -> None:
    assert find_suites(rendered.folder.parents[1] / "results") == ["demo"]
