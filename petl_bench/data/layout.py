"""What a data set consists of on disk, and the error that says what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petl_bench.errors import UserError


@dataclass(frozen=True)
class Part:
    """A file or folder of a data set.

    key: what a reader calls it.
    places: where it may lie, relative to the root; the first that is there counts.
    holds: what it looks like, for the message to a user who lacks it.
    inside: of a folder: the path of a file in it, for the same message.
    needed: whether the data set can be read without it.
    """

    key: str
    places: tuple[str, ...]
    holds: str
    inside: str = ""
    needed: bool = True


def find_parts(parts: Sequence[Part], root: Path) -> dict[str, Path]:
    """The parts that are there, by their keys."""
    found = {part.key: next((p for p in _paths(part, root) if p.exists()), None) for part in parts}
    return {key: path for key, path in found.items() if path is not None}


def absent(parts: Sequence[Part], root: Path) -> list[Path]:
    """Where the needed parts that are not there were looked for first."""
    found = find_parts(parts, root)
    return [_paths(part, root)[0] for part in parts if part.needed and part.key not in found]


def require_parts(name: str, parts: Sequence[Part], root: Path) -> dict[str, Path]:
    """The parts that are there, or UserError with every place looked at and the layout that is expected."""
    found = find_parts(parts, root)
    if not absent(parts, root):
        return found
    needed = [part for part in parts if part.needed]
    looked = "\n".join(_line(part, found, root) for part in needed)
    rows = [(f"{part.places[0]}{part.inside}", part.holds) for part in needed]
    width = max(len(place) for place, _ in rows)
    tree = "\n".join(["  FOLDER/", *(f"    {place:<{width}}  {holds}" for place, holds in rows)])
    raise UserError(
        f"Data set {name!r} was not found. Looked for:\n{looked}\nExpected layout:\n{tree}\n"
        "Point to it with `--set dataset.root=FOLDER`, or set PETL_BENCH_DATA so that the folder is "
        f"PETL_BENCH_DATA/{name}. Where parts lie elsewhere, the fields of dataset.source say it: "
        f"`--set dataset.source.{needed[-1].key}=PATH`."
    )


def _paths(part: Part, root: Path) -> list[Path]:
    return [root / place for place in part.places]


def _line(part: Part, found: Mapping[str, Path], root: Path) -> str:
    if part.key in found:
        return f"  {found[part.key]}  found"
    more = f" (nor {', '.join(part.places[1:])})" if len(part.places) > 1 else ""
    return f"  {root / part.places[0]}  missing{more}"
