"""Studies within a comparison: rows that differ from a base row in one setting, or in the training clips alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from petl_bench.report.collect import VARIANT, Comparison, Row
from petl_bench.report.setting_text import (
    BLOCKS,
    amount,
    block_indices,
    default_amount,
    is_number,
    value_text,
)

_FEWEST = 3  # rows that make a study where no label says that it is one


@dataclass(frozen=True)
class Variant:
    """A row of a study.

    Attributes:
        value: of the setting; a default's own value where it is known.
        name: the value for people.
    """

    row: Row
    value: Any
    name: str


@dataclass(frozen=True)
class Sweep:
    """The rows of one method that differ in one setting alone, by rising value; the base is one of them."""

    method: str
    backbone: str
    setting: str
    variants: tuple[Variant, ...]
    base: Row
    depth: int | None = None  # blocks of the backbone, where known

    @property
    def numeric(self) -> bool:
        return all(is_number(v.value) for v in self.variants)


@dataclass(frozen=True)
class DataLine:
    """A method trained on several shares of the training clips, by rising share; its name is the last's label."""

    name: str
    rows: tuple[Row, ...]


def base_of(rows: Sequence[Row], method: str, backbone: str) -> Row | None:
    """The row that a method's variants are variants of, among those trained on the largest share of the clips.

    It is the row that is labelled as the method (`METHOD` or `METHOD@BACKBONE`); else the only one, or the one whose
    settings are the most usual for each setting.
    """
    own = [row for row in rows if row.method == method and row.backbone == backbone]
    whole = [row for row in own if row.fraction == max(r.fraction for r in own)]
    if not whole:
        return None
    named = [row for row in whole if row.label in (method, f"{method}{VARIANT}{backbone}")]
    if named:
        return named[0]
    keys = {key for row in whole for key in row.settings}
    usual = {key: Counter(repr(row.settings.get(key)) for row in whole).most_common(1)[0][0] for key in keys}

    def likeness(row: Row) -> tuple[int, bool, str]:
        agree = sum(repr(row.settings.get(key)) == text for key, text in usual.items())
        return -agree, VARIANT in row.label, row.label

    return min(whole, key=likeness)


def sweeps_of(rows: Sequence[Row]) -> list[Sweep]:
    """Every sweep: at least three rows, or a variant that its label marks as one."""
    out = []
    for method, backbone in dict.fromkeys((row.method, row.backbone) for row in rows):
        base = base_of(rows, method, backbone)
        if base is None:
            continue
        by_setting: dict[str, list[Row]] = {}
        for row in rows:
            if (row.method, row.backbone, row.fraction) == (method, backbone, base.fraction):
                changed = changed_settings(row, base)
                if len(changed) == 1:
                    by_setting.setdefault(changed[0], []).append(row)
        for setting in sorted(by_setting, key=list(base.settings).index):
            variants = by_setting[setting]
            if len(variants) + 1 >= _FEWEST or any(VARIANT in row.label for row in variants):
                out.append(_sweep(setting, base, variants))
    return out


def changed_settings(row: Row, base: Row) -> list[str]:
    """Settings in which a row differs from the base. Those that only one of the two knows do not count."""
    return [key for key, value in base.settings.items() if key in row.settings and row.settings[key] != value]


def data_lines(rows: Sequence[Row]) -> list[DataLine]:
    """Methods that were trained on two or more shares of the clips, by falling accuracy on the largest."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.stem, row.backbone, repr(sorted(row.settings.items()))), []).append(row)
    lines = []
    for group in groups.values():
        if len({row.fraction for row in group}) > 1:
            ordered = tuple(sorted(group, key=lambda row: row.fraction))
            lines.append(DataLine(ordered[-1].label, ordered))
    return sorted(lines, key=lambda line: (-line.rows[-1].top1.mean, line.name))


def main_rows(comparison: Comparison) -> Comparison:
    """The comparison without the rows that stand in a study and whose labels say so (`method@...`)."""
    sweeps = [v.row.label for sweep in sweeps_of(comparison.rows) for v in sweep.variants]
    lines = [row.label for line in data_lines(comparison.rows) for row in line.rows[:-1]]
    studied = {*sweeps, *lines}
    rows = tuple(row for row in comparison.rows if row.label not in studied or not _is_variant(row))
    return replace(comparison, rows=rows or comparison.rows)


def _is_variant(row: Row) -> bool:
    """Whether its label marks a row as a variant; the name of a backbone in it does not."""
    return VARIANT in row.label.removesuffix(f"{VARIANT}{row.backbone}")


def whole_rows(comparison: Comparison) -> Comparison:
    """The comparison without rows that were trained on less of the clips than others of the same kind."""
    parts = {row.label for line in data_lines(comparison.rows) for row in line.rows[:-1]}
    return replace(comparison, rows=tuple(row for row in comparison.rows if row.label not in parts))


def _sweep(setting: str, base: Row, variants: Sequence[Row]) -> Sweep:
    rows = [base, *variants]
    values = {row.label: row.settings[setting] for row in rows}
    known = [(n, _parameters(row)) for row in rows if (n := amount(values[row.label])) is not None]
    depth = None
    for row in rows:
        if values[row.label] is not None:
            continue
        found = default_amount(known, _parameters(row))
        if found is None:
            continue
        if setting == BLOCKS:
            depth = found
        elif all(is_number(v) or v is None for v in values.values()):
            values[row.label] = found
    named = [Variant(row, values[row.label], value_text(setting, values[row.label], depth)) for row in rows]
    order = {row.label: i for i, row in enumerate(sorted(rows, key=lambda r: r.label))}
    named.sort(key=lambda v: (*_order(setting, v.value, depth), order[v.row.label]))
    return Sweep(base.method, base.backbone, setting, tuple(named), base, depth)


def _parameters(row: Row) -> float:
    return row.cost["trainable_params_without_head"].mean


def _order(setting: str, value: Any, depth: int | None) -> tuple[float, float, str]:
    """Numbers by size; lists by length, blocks then from the first to the last; the rest by name."""
    if is_number(value):
        return 0.0, float(value), ""
    if value is None:  # a default of unknown size: all blocks come after some, else it comes first
        return (2.0, 0.0, "") if setting == BLOCKS else (-1.0, 0.0, "")
    if isinstance(value, (list, tuple)):
        if setting == BLOCKS:
            indices = block_indices(value, depth) or tuple(value)
            middle = sum(i if i >= 0 else i + 10_000 for i in indices) / len(indices)
            return 1.0, len(value) * 1e6 + middle, ""
        if all(is_number(v) for v in value):
            volume = 1.0
            for v in value:
                volume *= v
            return 1.0, volume, repr([-v for v in value])
        return 1.0, float(len(value)), "+".join(map(str, value))
    return 1.0, 0.0, str(value)
