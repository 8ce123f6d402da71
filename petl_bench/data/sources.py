"""Opening a data set by its config: where it is, what it holds, what state it is in."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from petl_bench import synth
from petl_bench.data.census import take_census
from petl_bench.data.listed import Listed, SplitFiles
from petl_bench.data.manifest import Clip, Manifest, VideoData, hold_out, take_fraction
from petl_bench.data.prepared import coverage
from petl_bench.data.readers import absent_parts, read_files
from petl_bench.data.rendered import BYTES_PER_CLIP, Progress, Rendering, rendered_clips
from petl_bench.data.skips import SkipList, read_skips, unclear_skips, without_skips
from petl_bench.dataset_config import DatasetConfig, SynthSource, data_root
from petl_bench.errors import UserError


class DatasetState(NamedTuple):
    """The state of a data set on this machine.

    `clips` counts training and test clips as the config or the split files list them; None when unknown.
    """

    state: str
    clips: int | None
    root: Path


def open_data(config: DatasetConfig, validation: float, progress: Progress | None = None) -> VideoData:
    """The splits of a data set; clips that the package renders are made first if they are missing.

    The validation part is held out of all clips that are listed, and `config.fraction` is taken of the rest, before
    those without a file and those on the skip list are left out and counted: what is held out is the same for every
    fraction, and on every machine, whatever is missing there.

    Args:
        config: the data set.
        validation: part of each class of the training split to hold out, 0..1.
        progress: called with (done, total, text) while clips are rendered.

    Raises:
        UserError: the data set is not there (says where it looked and what it expects) or is malformed.
    """
    root = data_root(config)
    listed = list_clips(config, progress)
    skips = read_skips(config, root)
    shared = listed.shared_ids
    usable = {*_usable("train", listed.train, skips, shared), *_usable("test", listed.test, skips, shared)}
    rest, held_out = hold_out(_all("train", listed.train), validation)
    rest = take_fraction(rest, config.fraction)
    train, held_out, test = (_within(m, usable) for m in (rest, held_out, _all("test", listed.test)))
    if not train.clips:
        raise UserError(
            f"None of the {train.skipped} clips that are left to train on can be used: no file, or on the skip list."
        )
    census = take_census(listed, train.clips, test.clips, config.heads)
    notes = [
        census.notice(),
        _unclear(config, unclear_skips((*listed.train.all, *listed.test.all), skips, shared)),
    ]
    return VideoData(
        config,
        listed.class_names,
        listed.pairs,
        train,
        held_out,
        test,
        listed.head_names,
        shared_ids=shared,
        notice="; ".join(filter(None, notes)),
    )


def _unclear(config: DatasetConfig, count: int) -> str:
    return (
        f"{count:,} entries of the skip list are of an older version and fit two clips each, they are not used: run "
        f"`petl-bench datasets check {config.name}` again"
        if count
        else ""
    )


def list_clips(config: DatasetConfig, progress: Progress | None = None) -> Listed:
    """Every clip of a data set, with a file or without, before any is skipped or held out."""
    source = config.source
    if not isinstance(source, SynthSource):
        return read_files(config, source, data_root(config))
    names = tuple(synth.class_names(source.task))
    if len(names) != config.classes:
        raise UserError(f"dataset.classes is {config.classes}, but task {source.task!r} has {len(names)}.")
    pairs = tuple((int(a), int(b)) for a, b in synth.pairs(source.task))
    clips = rendered_clips(source, data_root(config), progress)
    return Listed(names, SplitFiles(clips["train"]), SplitFiles(clips["test"]), pairs=pairs)


def _usable(
    split: str, files: SplitFiles, skips: SkipList | None, shared: frozenset[str]
) -> tuple[Clip, ...]:
    if not files.listed:
        raise UserError(f"The {split} split lists no clips.")
    if not files.clips:
        raise UserError(
            f"None of the {files.listed} clips of the {split} split has a file. "
            f"Looked for {files.missing[0].path} and the like; check the videos' folder "
            "(`--set dataset.source.videos=FOLDER`, or the source's other folders)."
        )
    clips = without_skips(files.clips, skips, shared)
    if not clips:
        raise UserError(
            f"Every clip of the {split} split that has a file is on the skip list: {len(files.clips)} clips."
        )
    return clips


def _all(split: str, files: SplitFiles) -> Manifest:
    return Manifest(split, files.all)


def _within(manifest: Manifest, usable: set[Clip]) -> Manifest:
    clips = tuple(clip for clip in manifest.clips if clip in usable)
    return Manifest(manifest.split, clips, len(manifest.clips) - len(clips))


def dataset_state(config: DatasetConfig) -> DatasetState:
    """What `open_data` would find, without rendering anything: "ready" (with what is missing, skipped or prepared),
    "will be rendered on first use (~N MB)", "not found: <where it looked>" or "not usable: <why>"."""
    found = _state(config)
    frames = coverage(config, found.clips)
    return found._replace(state=f"{found.state}, {frames}") if frames else found


def _state(config: DatasetConfig) -> DatasetState:
    root = data_root(config)
    source = config.source
    if isinstance(source, SynthSource):
        return _rendered_state(source, root)
    if absent := absent_parts(source, root):
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        return DatasetState(f"not found: {absent[0]}{more}", None, root)
    try:
        listed = read_files(config, source, root)
        skips = read_skips(config, root)
    except UserError as error:
        return DatasetState(f"not usable: {error}", None, root)
    splits = (listed.train, listed.test)
    missing = sum(len(split.missing) for split in splits)
    here = sum(len(split.clips) for split in splits)
    if not here:
        return DatasetState("not found: no clip has a file", missing, root)
    left = sum(len(without_skips(split.clips, skips, listed.shared_ids)) for split in splits)
    notes = [f"{missing:,} without a file"] if missing else []
    if skips:
        partly = "" if skips.complete else "partly "
        notes.append(f"{partly}checked {skips.date[:10]}, {here - left:,} skipped")
    else:
        notes.append("not checked")
    return DatasetState(", ".join(["ready", *notes]), here + missing, root)


def _rendered_state(source: SynthSource, root: Path) -> DatasetState:
    rendering = Rendering(source, root)
    missing = len(rendering.missing(rendering.read_labels()))
    clips = source.train_clips + source.test_clips
    if not missing:
        return DatasetState("ready", clips, root)
    scale = source.size**2 * source.length / (64**2 * 24)
    megabytes = max(1, round(missing * BYTES_PER_CLIP * scale / 1e6))
    part = "" if missing == clips else f"{missing} of {clips} clips "
    return DatasetState(f"{part}will be rendered on first use (~{megabytes} MB)", clips, root)
