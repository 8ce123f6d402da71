"""Do the tests notice small mistakes? Puts them into modules, one at a time, and runs the tests that must fail.

    python tests/mutation/mutate.py                             # every mistake in every module of TESTS: hours
    python tests/mutation/mutate.py --sample 12 --jobs 2        # 12 of each module, drawn by --seed
    python tests/mutation/mutate.py petl_bench/block.py --list  # show the mistakes, run nothing
    python tests/mutation/mutate.py petl_bench/block.py --tests tests/test_mine.py

Mistakes are put into a copy of the tree, never into the tree itself. This process imports torch and the like once and
forks for each mistake, so that one costs the tests alone. Verdicts are kept in the journal, and not found out again
while the module, and the tests that are asked, stay as they are. A mistake that changes nothing that matters is listed
in `equivalent.txt` with the reason; it is neither run nor counted. The exit code is 1 where a mistake survived.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from forks import TREE, Job, baseline, copy_tree, finish, preload, put, start
from mutants import Mutant, mutants_of

EQUIVALENT = Path(__file__).with_name("equivalent.txt")
# folder, its modules, and the tests that must notice their mistakes, the quickest first
TESTS = [
    (
        "methods",
        "_divided_attention adapter attentional_pooling full linear_probe lora partial prompt st_adapter temporal",
        "test_methods_reference test_methods_start test_parameter_groups faults/test_config_bounds",
    ),
    ("petl_bench", "block", "test_methods_reference"),
    (
        "petl_bench",
        "adapted",
        "test_methods_reference test_adapted test_methods_start test_parameter_groups",
    ),
    ("petl_bench", "metrics", "test_metrics"),
    ("petl_bench", "config suite", "test_suite_precedence test_suites test_config"),
    ("petl_bench/data", "sampling", "test_data_sampling"),
    (
        "petl_bench/data",
        "epic kinetics ucf101 hmdb51 lists listed files finder",
        "test_data_lines test_data_readers test_data_sources",
    ),
    ("petl_bench/data", "manifest", "test_data_identity test_data_sources"),
    ("petl_bench/data", "loader", "test_data_lines test_data_loader"),
    ("petl_bench/data", "rendered", "test_data_identity test_data_rendered"),
    ("petl_bench/data", "prepared", "test_data_prepared_frames test_data_prepared_use test_data_prepare"),
    (
        "petl_bench/report",
        "intervals paired judge",
        "test_report_intervals test_report_both_sides test_report_claims test_report_claim_needs",
    ),
    (
        "petl_bench/report",
        "collect conditions cautions measure",
        "test_report_numbers test_report_both_sides test_report_studies test_report_intervals",
    ),
    ("petl_bench/train", "objective", "test_objective test_plain_loop"),
    ("petl_bench/train", "scribe", "test_record_times test_plain_loop test_lockstep"),
    (
        "petl_bench/train",
        "trainee lockstep evaluate",
        "test_parameter_groups test_plain_loop test_train_times test_record_times test_train_run "
        "faults/test_unreadable_share faults/test_damaged_checkpoints test_lockstep",
    ),
]


def tests_of(module: str) -> list[str]:
    """The tests of a module."""
    path = Path(module)
    for folder, stems, tests in TESTS:
        if folder == str(path.parent) and path.stem in stems.split():
            return [f"tests/{name}.py" for name in tests.split()]
    sys.exit(f"{module}: no tests in TESTS; name them with --tests")


def modules() -> list[str]:
    """Every module that TESTS names."""
    return [f"{folder}/{stem}.py" for folder, stems, _ in TESTS for stem in stems.split()]


def equivalent() -> dict[str, str]:
    """The mistakes that change nothing that matters, and why: a line that names one, then indented lines."""
    out: dict[str, str] = {}
    key = ""
    for line in EQUIVALENT.read_text(encoding="utf-8").splitlines() if EQUIVALENT.exists() else []:
        if line.startswith((" ", "\t")) and key:
            out[key] = f"{out[key]} {line.strip()}".strip()
        elif line and not line.startswith("#"):
            key = line.rstrip()
            out[key] = ""
    if bare := [key for key, reason in out.items() if not reason]:
        sys.exit(f"{EQUIVALENT}: no reason for {bare[0]}")
    return out


class Journal:
    """Verdicts that are known: a line each, appended as they come."""

    def __init__(self, file: Path) -> None:
        self.file, self.known = file, dict[str, dict[str, str]]()
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            with suppress(ValueError):  # torn by a kill
                row = json.loads(line)
                self.known[row["key"]] = row

    def note(self, key: str, mutant: Mutant, verdict: str, by: str, seconds: float) -> None:
        row = {"key": key, "verdict": verdict, "by": by, "seconds": f"{seconds:.1f}", "mutant": mutant.key}
        self.known[key] = row
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


def run_all(
    chosen: Sequence[tuple[Mutant, str]], tests: list[str], trees: list[Path], journal: Journal, limit: float
) -> None:
    """Every mistake of one module, as many at a time as there are trees."""
    free, running, waiting = list(trees), list[tuple[Job, str]](), list(chosen)
    while waiting or running:
        while waiting and free:
            mutant, key = waiting.pop(0)
            job = Job(mutant, free.pop(), limit)
            put(mutant, job.tree, mutant.source)
            start(job, tests)
            running.append((job, key))
        for job, key in list(running):
            if (found := finish(job)) is None:
                continue
            assert job.mutant
            running.remove((job, key))
            put(job.mutant, job.tree, (TREE / job.mutant.module).read_text(encoding="utf-8"))
            free.append(job.tree)
            journal.note(key, job.mutant, *found, time.monotonic() - job.began)
            show(job.mutant, *found)
        time.sleep(0.02)


def show(mutant: Mutant, verdict: str, by: str) -> None:
    print(f"{verdict:8} {mutant.module}:{mutant.line}  {mutant.kind}  {by}", flush=True)
    if verdict != "killed":
        print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)


def state_of(tests: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for test in tests:
        digest.update((TREE / test.split("::")[0]).read_bytes())
    return digest.hexdigest()[:12]


def drawn(module: str, args: argparse.Namespace, known: dict[str, str]) -> tuple[list[Mutant], int]:
    """The mistakes of a module that are asked for, and how many of those that were drawn are equivalent."""
    found = mutants_of(module, (TREE / module).read_text(encoding="utf-8"))
    if args.sample and args.sample < len(found):
        rng = random.Random(f"{args.seed} {module}")
        found = sorted(rng.sample(found, args.sample), key=lambda m: m.line)
    kept = [m for m in found if m.key not in known]
    return kept, len(found) - len(kept)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "modules", nargs="*", help="paths from the root of the repository; default: those of TESTS"
    )
    parser.add_argument("--tests", nargs="+", help="test files, instead of those of TESTS")
    parser.add_argument(
        "--sample", type=int, default=0, help="mistakes of each module, drawn at random; 0: all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mistakes at a time")
    parser.add_argument("--journal", type=Path, default=Path("mutation.jsonl"), help="file of verdicts")
    parser.add_argument("--list", action="store_true", help="show the mistakes and run nothing")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    known, journal = equivalent(), Journal(args.journal)
    tally: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / str(number) for number in range(args.jobs)]
        for module in args.modules or modules():
            chosen, same = drawn(module, args, known)
            if args.list:
                for m in chosen:
                    print(f"{m.module}:{m.line}  {m.kind}\n    - {m.before}\n    + {m.after}")
                continue
            tests = args.tests or tests_of(module)
            keys = [f"{m.id} {state_of(tests)}" for m in chosen]
            todo = [(m, key) for m, key in zip(chosen, keys, strict=True) if key not in journal.known]
            if todo:
                if not trees[0].exists():
                    preload()
                    for tree in trees:
                        copy_tree(tree)
                seconds = baseline(trees, tests)
                print(f"{module}: {len(todo)} mistakes, {seconds:.0f} s for {' '.join(tests)}", flush=True)
                run_all(todo, tests, trees, journal, max(30.0, 5 * seconds * args.jobs))
            verdicts = Counter(journal.known[key]["verdict"] for key in keys)
            tally[module] = verdicts + Counter(equivalent=same)
    return summary(tally)


def summary(tally: dict[str, Counter[str]]) -> int:
    total: Counter[str] = sum(tally.values(), Counter())
    for module, n in [*tally.items(), ("all", total)] if tally else ():
        real = n["killed"] + n["survived"]
        share = f"{100 * n['killed'] / real:5.1f} %" if real else "     -"
        print(f"{share}  {n['killed']:4} of {real:4} killed, {n['equivalent']:3} equivalent  {module}")
    return 1 if total["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
