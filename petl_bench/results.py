"""Run folders: `results/<suite>/<dataset>/<label>/seed-<n>/`. Free of torch.

A run folder can be moved and merged by copying. It holds `record.json`, `config.yaml`, `log.jsonl`,
`adapter.safetensors` (trained parameters only) and, while unfinished, `checkpoint.pt`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from petl_bench.config import RunConfig
from petl_bench.errors import UserError
from petl_bench.machine import MachineError, errors_of_machine, is_of_machine, raise_if_of_machine
from petl_bench.records import SCHEMA_VERSION, RunRecord


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}."
        raise (MachineError(message, error.errno) if is_of_machine(error) else UserError(message)) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_file(self) -> Path:
        return self.path / "record.json"

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def adapter_file(self) -> Path:
        return self.path / "adapter.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def error_file(self) -> Path:
        return self.path / "error.txt"

    @classmethod
    def of(cls, out: Path, config: RunConfig) -> RunFolder:
        """Where the run of `config` belongs under the results folder `out`."""
        return cls(out / config.suite / config.dataset.name / config.method.label / f"seed-{config.seed}")

    def write_record(self, record: RunRecord) -> None:
        write_atomic(self.record_file, record.model_dump_json(indent=1) + "\n")

    def write_config(self, config: RunConfig) -> None:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomic(self.config_file, text)

    def read_record(self) -> RunRecord | None:
        """The record, or None where there is none. Raises UserError for one that cannot be read."""
        file = self.record_file
        return read_record(file) if file.exists() else None

    def read_log(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of `log.jsonl`: {"kind": "train" | "validation", "step": ..., ...}, a torn last line left out."""
        if not self.log_file.exists():
            return []
        lines = []
        for text in self.log_file.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if kind is None or line.get("kind") == kind:
                lines.append(line)
        return lines


def read_record(path: Path) -> RunRecord:
    """A record. Raises UserError that names the file and the field."""
    try:  # parsed and checked at once, several times faster than one after the other
        with errors_of_machine(path):
            data = path.read_bytes()
        return RunRecord.model_validate_json(data)
    except (OSError, ValidationError):
        return _read_slowly(path)


def _read_slowly(path: Path) -> RunRecord:
    """The same, step by step, to say what is wrong."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} cannot be read: {error}. Move its folder away to leave the run out."
        ) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {version}, newer than this petl-bench knows: upgrade petl-bench."
        )
    try:
        return RunRecord.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"])
        raise UserError(f"{path}: field {field!r}: {first['msg']}.") from None


def find_runs(out: Path, suite: str | None = None) -> Iterator[RunFolder]:
    """Every run folder under `out`, in the order of their paths. Raises UserError for a suite that is a path."""
    if suite is not None and (suite in ("", ".", "..") or Path(suite).name != suite):
        raise UserError(
            f"A suite is the name of a folder in {out}, not a path: {suite!r}. Name it alone, and the folder that "
            "it is in with --results FOLDER."
        )
    suites = _folders(out) if suite is None else [suite]
    for name in suites:
        for dataset in _folders(out / name):
            for label in _folders(out / name / dataset):
                row = out / name / dataset / label
                for seed in _folders(row):
                    if seed.startswith("seed-") and os.path.lexists(row / seed / "record.json"):
                        yield RunFolder(row / seed)


def _folders(path: Path) -> list[str]:
    """Names of the folders in a folder, sorted; none where it is no folder or must not be read."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except PermissionError:
        return []
    except OSError as error:
        raise_if_of_machine(error)
        return []
