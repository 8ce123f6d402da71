"""Opening a data set by its config: where it is, what it holds, what state it is in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import platformdirs

from petl_bench import synth
from petl_bench.data.files import existing, expected_files, read_lists
from petl_bench.data.manifest import Clip, Manifest, VideoData, hold_out
from petl_bench.data.rendered import BYTES_PER_CLIP, Progress, Rendering, rendered_clips
from petl_bench.dataset_config import DatasetConfig, SynthSource
from petl_bench.errors import UserError


class DatasetState(NamedTuple):
    """The state of a data set on this machine.

    `clips` counts training and test clips as the config or the split files list them; None when unknown.
    """

    state: str
    clips: int | None
    root: Path


def data_root(config: DatasetConfig) -> Path:
    """The folder of a data set: `config.root`, else PETL_BENCH_DATA/<name>, else the user's data folder."""
    if config.root:
        return Path(config.root).expanduser()
    folder = os.environ.get("PETL_BENCH_DATA")
    base = (
        Path(folder).expanduser()
        if folder
        else Path(platformdirs.user_data_dir("petl-bench", appauthor=False))
    )
    return base / config.name


def open_data(config: DatasetConfig, validation: float, progress: Progress | None = None) -> VideoData:
    """The splits of a data set; clips that the package renders are made first if they are missing.

    Args:
        config: the data set.
        validation: part of each class of the training split to hold out, 0..1.
        progress: called with (done, total, text) while clips are rendered.

    Raises:
        UserError: the data set is not there (says where it looked and what it expects) or is malformed.
    """
    root = data_root(config)
    source = config.source
    pairs: tuple[tuple[int, int], ...] = ()
    if isinstance(source, SynthSource):
        names = tuple(synth.class_names(source.task))
        if len(names) != config.classes:
            raise UserError(
                f"dataset.classes is {config.classes}, but task {source.task!r} has {len(names)}."
            )
        pairs = tuple((int(a), int(b)) for a, b in synth.pairs(source.task))
        clips = rendered_clips(source, root, progress)
        train, test = Manifest("train", clips["train"]), Manifest("test", clips["test"])
    else:
        listed = read_lists(config, source, root)
        names = listed.class_names
        train, test = existing("train", listed.train), existing("test", listed.test)
        _require_clips(train, listed.train)
        _require_clips(test, listed.test)
    rest, held_out = hold_out(train, validation)
    return VideoData(config, names, pairs, rest, held_out, test)


def _require_clips(manifest: Manifest, listed: tuple[Clip, ...]) -> None:
    if manifest.clips:
        return
    if not listed:
        raise UserError(f"The {manifest.split} split lists no clips.")
    raise UserError(
        f"None of the {len(listed)} clips of the {manifest.split} split has a file. "
        f"Looked for {listed[0].path} and the like; check the videos' folder (dataset.source.videos)."
    )


def dataset_state(config: DatasetConfig) -> DatasetState:
    """What `open_data` would find, without rendering anything: "ready", "will be rendered on first use
    (~N MB)" or "not found: <where it looked>"."""
    root = data_root(config)
    source = config.source
    if isinstance(source, SynthSource):
        rendering = Rendering(source, root)
        missing = len(rendering.missing(rendering.read_labels()))
        clips = source.train_clips + source.test_clips
        if not missing:
            return DatasetState("ready", clips, root)
        scale = source.size**2 * source.length / (64**2 * 24)
        megabytes = max(1, round(missing * BYTES_PER_CLIP * scale / 1e6))
        part = "" if missing == clips else f"{missing} of {clips} clips "
        return DatasetState(f"{part}will be rendered on first use (~{megabytes} MB)", clips, root)
    absent = [path for path in expected_files(source, root).values() if not path.exists()]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        return DatasetState(f"not found: {absent[0]}{more}", None, root)
    try:
        listed = read_lists(config, source, root)
    except UserError as error:
        return DatasetState(f"not usable: {error}", None, root)
    return DatasetState("ready", len(listed.train) + len(listed.test), root)
