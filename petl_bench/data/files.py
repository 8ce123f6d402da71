"""Data sets that a user brings: what the publishers' files list, and which of those videos are there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.data.manifest import Clip, Manifest
from petl_bench.dataset_config import DatasetConfig, ListSource, SSv2Source
from petl_bench.errors import UserError

Files = SSv2Source | ListSource


@dataclass(frozen=True)
class Listed:
    """What the split files say: the names of the classes, and the clips whether or not they have a file."""

    class_names: tuple[str, ...]
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]


def expected_files(source: Files, root: Path) -> dict[str, Path]:
    """The files and folders that must be there, by what they hold."""
    paths = {"training split": source.train, "test split": source.test, "videos": source.videos}
    if isinstance(source, SSv2Source):
        paths = {"class labels": source.labels, **paths}
    return {what: root / path for what, path in paths.items()}


def read_lists(config: DatasetConfig, source: Files, root: Path) -> Listed:
    """The clips of the split files.

    Raises:
        UserError: something is missing (with the layout that is expected) or not as it should be (with the
            file and the place).
    """
    require_files(config, source, root)
    return (
        _read_ssv2(config, source, root)
        if isinstance(source, SSv2Source)
        else _read_list(config, source, root)
    )


def require_files(config: DatasetConfig, source: Files, root: Path) -> None:
    """Raise UserError, saying where it looked and what it expects, unless the data set is there."""
    found = {path: path.exists() for path in expected_files(source, root).values()}
    if all(found.values()):
        return
    looked = "\n".join(f"  {path}  {'found' if there else 'missing'}" for path, there in found.items())
    raise UserError(
        f"Data set {config.name!r} was not found. Looked for:\n{looked}\n"
        f"Expected layout:\n{_layout(source)}\n"
        "Point to it with `--set dataset.root=FOLDER`, or set PETL_BENCH_DATA so that the folder is "
        f"PETL_BENCH_DATA/{config.name}."
    )


def _layout(source: Files) -> str:
    if isinstance(source, SSv2Source):
        rows = [
            (source.labels, '{"Pushing something ...": "0", ...}'),
            (source.train, '[{"id": "123", "template": "Pushing [something] ..."}, ...]'),
            (source.test, "the same"),
            (f"{source.videos}/123.webm", "one file per clip"),
        ]
    else:
        videos = "" if source.videos == "." else f"{source.videos}/"
        rows = [
            (source.train, "a line `path label` per clip; paths are relative to the videos"),
            (source.test, "the same"),
            (f"{videos}any/path.mp4", "one file per clip"),
        ]
    width = max(len(path) for path, _ in rows)
    return "\n".join(["  FOLDER/", *(f"    {path:<{width}}  {what}" for path, what in rows)])


def existing(split: str, clips: Iterable[Clip]) -> Manifest:
    """The clips that have a file; the others are counted. Lists each folder once: one look-up per clip is
    slow on network file systems."""
    folders: dict[Path, set[str]] = {}
    kept, skipped = [], 0
    for clip in clips:
        folder = clip.path.parent
        if folder not in folders:
            try:
                folders[folder] = set(os.listdir(folder))
            except OSError:
                folders[folder] = set()
        if clip.path.name in folders[folder]:
            kept.append(clip)
        else:
            skipped += 1
    return Manifest(split, tuple(kept), skipped)


def _read_ssv2(config: DatasetConfig, source: SSv2Source, root: Path) -> Listed:
    file = root / source.labels
    labels = _read_json(file)
    if not isinstance(labels, dict):
        raise UserError(f"{file}: expected a mapping of class names to numbers.")
    try:
        number_of = {name: int(number) for name, number in labels.items()}
    except (TypeError, ValueError):
        raise UserError(f'{file}: the labels must be whole numbers, such as "0".') from None
    if sorted(number_of.values()) != list(range(config.classes)):
        raise UserError(
            f"{file}: {len(number_of)} classes, but dataset.classes is {config.classes}; "
            f"labels must be 0..{config.classes - 1}, each once."
        )
    videos = root / source.videos
    splits = []
    for name in (source.train, source.test):
        split, clips = root / name, []
        entries = _read_json(split)
        for position, entry in enumerate(entries if isinstance(entries, list) else [None]):
            try:
                clip_id, template = str(entry["id"]), str(entry["template"]).replace("[", "").replace("]", "")
            except (TypeError, KeyError):
                raise UserError(
                    f'{split}: entry {position}: expected {{"id": ..., "template": ...}}.'
                ) from None
            if template not in number_of:
                raise UserError(
                    f"{split}: entry {position} (id {clip_id}): {template!r} is not a class of {file}."
                )
            clips.append(Clip(videos / f"{clip_id}.webm", number_of[template], clip_id))
        splits.append(tuple(clips))
    return Listed(tuple(sorted(number_of, key=number_of.__getitem__)), *splits)


def _read_list(config: DatasetConfig, source: ListSource, root: Path) -> Listed:
    videos = root / source.videos
    splits = []
    for name in (source.train, source.test):
        file, clips = root / name, []
        for number, line in enumerate(_read_text(file).splitlines(), start=1):
            if not line.strip():
                continue
            path, _, label = line.strip().rpartition(" ")
            if not path or not label.isdecimal() or int(label) >= config.classes:
                raise UserError(
                    f"{file}, line {number}: expected `path label` with a label of 0..{config.classes - 1} "
                    f"(dataset.classes is {config.classes}), found {line.strip()!r}."
                )
            full = videos / path.strip()
            relative = full.relative_to(videos) if full.is_relative_to(videos) else full
            clips.append(Clip(full, int(label), relative.as_posix()))
        splits.append(tuple(clips))
    return Listed(tuple(str(label) for label in range(config.classes)), *splits)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None


def _read_json(file: Path) -> Any:
    try:
        return json.loads(_read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {error.lineno}: not valid JSON: {error.msg}") from None
