"""What keeps the rows of a table from being comparable, or from saying anything, and which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petl_bench.report.collect import Comparison, Row
from petl_bench.report.conditions import (
    Reader,
    absent,
    backbone,
    clips_text,
    code,
    data,
    flat,
    known,
    machine,
    numerics,
    recipe,
    share,
    text_of,
)
from petl_bench.report.runs import Run
from petl_bench.report.sweeps import data_lines, main_rows
from petl_bench.report.weak_runs import Seeds, weak_runs


@dataclass(frozen=True)
class Caution:
    """What is wrong (a headline), and each difference as one line of text."""

    headline: str
    lines: tuple[str, ...]


def cautions_of(comparison: Comparison) -> list[Caution]:
    """Everything that a reader must know before comparing rows of the table, or believing one."""
    rows = comparison.rows
    found = {
        "Accuracies are not comparable": [
            *_by_share(comparison, recipe),
            *_by_share(comparison, data),
            *_all(rows, backbone, numerics),
            *differences(main_rows(comparison).rows, share),
        ],
        "Times and memory are not comparable": _all(rows, machine),
        "Not made by one version of the code": _all(rows, code),
        "Seeds of one row were not run alike": [
            f"{row.label}: {line}" for row in rows for line in differences([row], _own)
        ],
        "Clips were left out": _lost_clips(rows),
        # fair is the same grid for every row, or no search for any
        "Learning rates were not chosen alike": differences(rows, _grid),
        "Learning rates were chosen under other conditions than the runs'": _elsewhere(rows),
    }
    found |= {headline: _told(weak, rows) for headline, weak in weak_runs(comparison).items()}
    return [Caution(headline, tuple(lines)) for headline, lines in found.items() if lines]


def differences(rows: Sequence[Row], read: Reader) -> list[str]:
    """One line for each condition that has more than one value: `recipe.epochs: 30 in prompt; 8 in full`."""
    runs = [run for row in rows for run in row.runs]
    several = _several([known(run, read) for run in runs])
    values: dict[str, dict[str, Seeds]] = {name: {} for name in several}  # condition -> value -> who
    for run in runs if several else ():
        said = known(run, read)
        for condition in several:
            if condition in said:
                who = values[condition].setdefault(text_of(said[condition]), {})
                who.setdefault(run.record.label, []).append(run.record.seed)
    sizes = {row.label: row.n for row in rows}
    lines = []
    for condition, by_value in values.items():
        silent = _others(rows, by_value)
        if silent:
            by_value[absent(condition)] = silent
        if len(by_value) > 1:
            lines.append(f"{condition}: {_values(by_value, sizes)}")
    return lines


def _several(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The conditions that are not the same in all, in the order met."""
    unlike = list({id(mapping): mapping for mapping in facts}.values())
    texts: dict[str, set[str | None]] = {}
    for name in dict.fromkeys(name for mapping in unlike for name in mapping):
        texts[name] = {text_of(m[name]) if name in m else None for m in unlike}
    return [name for name, values in texts.items() if len(values) > 1]


def _all(rows: Sequence[Row], *readers: Reader) -> list[str]:
    return [line for read in readers for line in differences(rows, read)]


def _by_share(comparison: Comparison, read: Reader) -> list[str]:
    """Differences; where shares of the training clips are what is studied, within each share.

    Data differ between shares by intent, and recipes may: fewer clips can be seen more often.
    """
    if not data_lines(comparison.rows):
        return differences(comparison.rows, read)
    return [
        f"{line} (trained on {100 * part:g} % of the clips)"
        for part in sorted({row.fraction for row in comparison.rows})
        for line in differences([row for row in comparison.rows if row.fraction == part], read)
    ]


def _elsewhere(rows: Sequence[Row]) -> list[str]:
    """What the search for a learning rate had otherwise than the runs that use it."""
    found: dict[str, Seeds] = {}
    for run in (run for row in rows for run in row.runs):
        for text in _search(run):
            found.setdefault(text, {}).setdefault(run.record.label, []).append(run.record.seed)
    sizes = {row.label: row.n for row in rows}
    searched = sum(run.record.selection is not None for row in rows for run in row.runs)
    return [
        f"{text} in {'all rows that were searched' if _runs(who) == searched > 1 else _who(who, sizes)}"
        for text, who in found.items()
    ]


def _search(run: Run) -> list[str]:
    selection, p = run.record.selection, run.record.provenance
    if selection is None:
        return []
    lines = [
        f"{name}: {text_of(value)} in the search, {text_of(run.setting('recipe', name))}"
        for name, value in selection.recipe.items()
    ]
    clips = p.clips["train"].used if p and "train" in p.clips else None
    if selection.train_clips and clips and selection.train_clips != clips:
        lines.append(f"training clips: {selection.train_clips} in the search, {clips}")
    return lines


def _own(run: Run) -> Mapping[str, Any]:
    settings = flat({"settings": run.setting("method", "settings")})
    return {"method": run.record.method, "learning rate": run.learning_rate, **settings}


def _grid(run: Run) -> Mapping[str, Any]:
    return {"grid": sorted(run.record.selection.grid) if run.record.selection else "none"}


def _lost_clips(rows: Sequence[Row]) -> list[str]:
    lost: dict[str, Seeds] = {}
    for run in (run for row in rows for run in row.runs):
        for split, clips in (run.record.provenance.clips if run.record.provenance else {}).items():
            if clips.skipped or clips.unreadable:
                who = lost.setdefault(f"{split} {clips_text(clips)}", {})
                who.setdefault(run.record.label, []).append(run.record.seed)
    return _told(lost, rows)


def _told(found: Mapping[str, Seeds], rows: Sequence[Row]) -> list[str]:
    """A line for each text, with the runs of which it is so."""
    sizes = {row.label: row.n for row in rows}
    return [
        f"{text} in {'all rows' if _runs(who) == sum(sizes.values()) else _who(who, sizes)}"
        for text, who in found.items()
    ]


def _others(rows: Sequence[Row], by_value: Mapping[str, Seeds]) -> Seeds:
    """The runs that do not know the condition."""
    have = {(label, seed) for who in by_value.values() for label, seeds in who.items() for seed in seeds}
    out: Seeds = {}
    for run in (run for row in rows for run in row.runs):
        if (run.record.label, run.record.seed) not in have:
            out.setdefault(run.record.label, []).append(run.record.seed)
    return out


def _values(by_value: Mapping[str, Seeds], sizes: Mapping[str, int]) -> str:
    """`30 in prompt; 8 in all others`: the most frequent value last, its rows named only where they are few."""
    order = sorted(by_value, key=lambda value: _runs(by_value[value]))
    parts = [f"{value} in {_who(by_value[value], sizes)}" for value in order[:-1]]
    usual = by_value[order[-1]]
    return "; ".join([*parts, f"{order[-1]} in {'all others' if len(usual) > 2 else _who(usual, sizes)}"])


def _who(who: Seeds, sizes: Mapping[str, int], most: int = 5) -> str:
    """`full, prompt (seed 2)`: seeds are named where not all of the row's are meant."""
    names = [
        f"{label} (seed {', '.join(map(str, sorted(seeds)))})" if len(seeds) < sizes[label] else label
        for label, seeds in who.items()
    ]
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
    )


def _runs(who: Seeds) -> int:
    return sum(map(len, who.values()))
