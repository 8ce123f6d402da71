"""Which reader reads which source, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from petl_bench.data import diving48, epic, folders, hmdb51, kinetics, lists, ssv2, ucf101
from petl_bench.data.finder import Finder
from petl_bench.data.layout import Part, absent, require_parts
from petl_bench.data.listed import Listed
from petl_bench.dataset_config import DatasetConfig, FileSource

# kind of source -> module with `parts(source)` and `read(config, source, found, root, finder)`
READERS: Mapping[str, ModuleType] = {
    "ssv2": ssv2,
    "kinetics": kinetics,
    "epic": epic,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "diving48": diving48,
    "list": lists,
    "folders": folders,
}


def absent_parts(source: FileSource, root: Path) -> list[Path]:
    """What the data set needs and does not have."""
    return absent(_parts(source), root)


def read_files(config: DatasetConfig, source: FileSource, root: Path) -> Listed:
    """The clips of a data set that a user brings.

    Raises:
        UserError: something is missing (with the layout that is expected) or not as it should be (with the
            file and the line).
    """
    found = require_parts(config.name, _parts(source), root)
    read: Callable[..., Any] = READERS[source.kind].read
    listed: Listed = read(config, source, found, root, Finder())
    return listed


def _parts(source: FileSource) -> list[Part]:
    parts: list[Part] = READERS[source.kind].parts(source)
    return parts
