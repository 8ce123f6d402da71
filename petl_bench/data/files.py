"""Reading the annotation files of data sets. What is wrong in one is an error that names the file and the line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from petl_bench.errors import UserError


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: not UTF-8 text ({error.reason}).") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not empty, stripped; numbers count from 1."""
    # not str.splitlines: names may hold U+2028 and the like
    for number, line in enumerate(io.StringIO(read_text(file)), start=1):
        if line.strip():
            yield number, line.strip()


def read_json(file: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {error.lineno}: not valid JSON: {error.msg}.") from None


def csv_columns(file: Path) -> list[str]:
    """The names in the first line of a CSV file, in lower case; of any text file: its first line cut up."""
    first = read_text(file).partition("\n")[0].strip()
    try:
        names = next(csv.reader([first], delimiter=_delimiter(first)), [])
    except csv.Error as error:
        raise UserError(f"{file}, line 1: not the header of a CSV file: {error}.") from None
    return [name.strip().lower() for name in names]


def read_csv(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line, row) of a CSV file with a header; names of columns in lower case, values stripped.

    Args:
        columns: those that must be there, each with a value in every row.
    """
    text = read_text(file)
    first = text.partition("\n")[0]
    rows = _rows(file, text, _delimiter(first))
    names = [name.strip().lower() for name in next(rows, (1, []))[1]]
    if absent := [name for name in columns if name not in names]:
        raise UserError(
            f"{file}, line 1: no column {' and no column '.join(map(repr, absent))}; "
            f"found {', '.join(names) or 'nothing'}."
        )
    if twice := [name for name in columns if names.count(name) > 1]:
        raise UserError(f"{file}, line 1: two columns {twice[0]!r}.")
    for line, values in rows:
        if not any(value.strip() for value in values):
            continue
        if any(value.strip() for value in values[len(names) :]):
            raise UserError(
                f"{file}, line {line}: {len(values)} values for {len(names)} columns. A comma inside a value needs "
                'quotes around the value: "pour, drink".'
            )
        row = dict(zip(names, map(str.strip, values), strict=False))
        if bad := [name for name in columns if not row.get(name)]:
            raise UserError(f"{file}, line {line}: no value for {bad[0]!r}.")
        yield line, row


def _rows(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(last line, values) of each row."""
    # strict: otherwise a quote that is never closed swallows the rows after it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        before = reader.line_num
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{file}, line {before + 1}: the row that begins here is not valid CSV (a quote that is not closed?): "
                f"{error}."
            ) from None
        yield reader.line_num, values


def _delimiter(header: str) -> str:
    return max(",\t;", key=header.count)


def whole(text: Any, file: Path, where: str, what: str, below: int) -> int:
    """`text` as a whole number of 0..below - 1, or the error that names the place."""
    try:
        number = int(text)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < below:
        raise UserError(f"{file}, {where}: {what} must be a whole number of 0..{below - 1}, found {text!r}.")
    return number
