"""What the labels of lists mean: whole numbers, or names of classes. What cannot be meant is an error."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from petl_bench.data.finder import composed
from petl_bench.errors import UserError

WHOLE = re.compile(r"[+-]?\d+(\.0*)?")  # 3, 03, and 3.0 as tables with gaps are written
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
NO_LABEL = {"nan", "<na>", "n/a", "#n/a", "null"}  # what programs write where there is none
SEPARATORS = re.compile(r"[\s_\-–—.,;:'’`\"()\[\]]+")


class Written(NamedTuple):
    """A label as a file has it. where: file and line; side: which of the two splits."""

    label: str
    where: str
    side: str


def number_of(label: str) -> int | None:
    """The whole number that a label is, or None."""
    return int(label.partition(".")[0]) if WHOLE.fullmatch(label) else None


def read_names(labels: Iterable[Written]) -> set[str] | None:
    """The names that the labels of both splits are; None where they are whole numbers.

    Raises:
        UserError: numbers beside names, numbers below 0, numbers that begin at 0 in one split and at 1 in the other,
            words for "no label", names that differ only in how they are written.
    """
    first: dict[str, Written] = {}
    for written in labels:
        first.setdefault(composed(written.label), written)
    for label, written in first.items():
        if label.lower() in NO_LABEL:
            raise UserError(
                f"{written.where}: {label!r} means that there is no label. Remove the row, or label the clip."
            )
    if all(NUMBER.fullmatch(label) for label in first) and not all(WHOLE.fullmatch(label) for label in first):
        check_alike({label: written.where for label, written in first.items()})
        return set(first)
    numbers = {label: number for label in first if (number := number_of(label)) is not None}
    for label, number in numbers.items():
        if number < 0:
            raise UserError(
                f"{first[label].where}: the label {label} is below 0; classes are numbered from 0. Remove clips that "
                "have no label."
            )
    if not numbers:
        check_alike({label: written.where for label, written in first.items()})
        return set(first)
    if names := [label for label in first if label not in numbers]:
        digits = next(iter(numbers))
        raise UserError(
            f"{first[names[0]].where}: the label {names[0]!r} is a name, but {digits!r} ({first[digits].where}) is a "
            "number. Write names in both files, or numbers in both; a name of digits alone needs a letter."
        )
    return None


def check_start(labels: Iterable[Written]) -> None:
    """Raises UserError where numbers begin at 0 in one split and at 1 in the other."""
    found: dict[str, dict[int, str]] = {}
    for written in labels:
        number = number_of(written.label)
        if number is not None:
            found.setdefault(written.side, {}).setdefault(number, written.where)
    for one, other in (("train", "test"), ("test", "train")):
        from_0, from_1 = found.get(one, {}), found.get(other, {})
        counted = len(from_1) > 1 and set(from_1) == set(range(1, len(from_1) + 1))
        if 0 in from_0 and counted and max(from_1) > max(from_0):
            raise UserError(
                f"{from_0[0]}: the {one} split numbers its classes from 0 to {max(from_0)}, but the {other} split "
                f"from 1 to {max(from_1)} ({from_1[1]}). Number the classes of both from 0."
            )


def count_numbers(labels: Iterable[Written]) -> int:
    """How many classes there are where labels are numbers. Raises UserError where they begin at 1."""
    first: dict[int, str] = {}
    for written in labels:
        number = number_of(written.label)
        if number is not None:
            first.setdefault(number, written.where)
    if 1 in first and 0 not in first:
        raise UserError(
            f"{first[1]}: the labels begin at 1, but classes are numbered from 0. Subtract 1 from each label, or "
            "write names. (A subset of a larger set's classes: number them anew, from 0.)"
        )
    return max(first, default=-1) + 1


def check_alike(names: Mapping[str, str]) -> None:
    """Raises UserError for names that differ only in case, spaces, punctuation or zeros: one class, spelt in two ways.

    Args:
        names: a name -> where it is.
    """
    spelt: dict[str, str] = {}
    for name, where in names.items():
        other = spelt.setdefault(_sound(name), name)
        if composed(other) != composed(name):
            raise UserError(
                f"{where}: the class {name!r} is written {other!r} elsewhere ({names[other]}). Write one class in one "
                "way; two classes need names that differ in more than case, spaces and punctuation."
            )


def _sound(name: str) -> str:
    """What is left of a name without case, separators, invisible characters and zeros before numbers."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    if NUMBER.fullmatch(visible):
        return repr(float(visible))
    text = SEPARATORS.sub(" ", visible.lower())
    text = re.sub(r"(?<!\d) | (?!\d)", "", text)  # 1-0 is not 10
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), text) or visible
