"""How the time of a report grows with the number of runs: `python tests/speed/report_growth.py [RUNS ...]`.

Makes run folders (20 methods, one data set, seeds as needed, logs of 120 steps) in a temporary folder and
prints the CPU seconds of reading them and of the whole report with its pictures. No threshold: machines differ.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from report_runs import record, training_log, write_run

from petl_bench.report import render_report
from petl_bench.report.runs import read_runs

METHODS = 20


def main(sizes: list[int]) -> None:
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results"
            for i in range(runs):
                label, seed = f"method_{i % METHODS:02}", i // METHODS
                top1 = 50.0 + i % METHODS + seed % 5
                write_run(results, record(label, seed, top1), training_log(top1))
            start = time.process_time()
            read_runs(results, "demo")
            read = time.process_time()
            render_report(results, Path(folder) / "out", "demo")
            print(
                f"{runs:6} runs: read {read - start:6.2f} s, whole report {time.process_time() - read:6.2f} s"
            )


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000])
