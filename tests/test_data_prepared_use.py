"""Prepared frames that are broken, old, moved, switched off; what training makes of them."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_clips import (
    AS_USUAL,
    assert_whole,
    config_of,
    listed_twice,
    prepare,
    write_clips,
)
from video_files import all_frames, barred_frames, numbered_frames, read_number, write_file

from petl_bench.backbone import load_backbone
from petl_bench.config import RunConfig
from petl_bench.data import Clip, dataset_state, open_data
from petl_bench.data.decode import decoder_version
from petl_bench.data.frame_coding import shrunk
from petl_bench.data.prepare import Wanted, prepare_clips
from petl_bench.data.prepared import cache_folder, open_clip, open_prepared, prepared_text, read_card
from petl_bench.data.shards import ShardError
from petl_bench.data.sources import list_clips
from petl_bench.errors import UserError
from petl_bench.report.conditions import numerics
from petl_bench.report.runs import Run
from petl_bench.results import RunFolder
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.run import Interrupted, Options, run_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_clips(tmp_path)


def _clip_and_cache(root: Path) -> tuple[Clip, Any, Path, Any]:
    data = open_data(config_of(root), 0)
    clip, cache = data.train.clips[0], open_prepared(data)
    assert cache is not None
    found = cache.find(clip)
    assert found is not None
    return clip, cache, cache.folder / found.shard, found


@pytest.mark.parametrize("what", ["frame", "table", "cut", "gone", "grown"])
def test_a_corrupt_shard_never_gives_wrong_frames(what: str, folder: Path) -> None:
    prepare(folder, Wanted("raw"))
    clip, cache, shard, found = _clip_and_cache(folder)
    data = bytearray(shard.read_bytes())
    begin = found.table + found.length - found.stored
    frame_bytes = 48 * 64 * 3
    if what == "frame":
        data[begin + 3 * frame_bytes + 100] ^= 1  # one bit of frame 3
    elif what == "table":
        data[found.table + 20] ^= 1
    shard.write_bytes(data[: begin + frame_bytes * 4] if what == "cut" else data + b"x" * (what == "grown"))
    if what == "gone":
        shard.unlink()
    source = all_frames(clip.path)
    with open_clip(clip, "pyav", cache) as video:
        assert video.frame_count == 24
        np.testing.assert_array_equal(video.frames([2, 3]), source[[2, 3]])  # from the video
    if what == "frame":
        with closing(cache.open(clip)) as video:
            np.testing.assert_array_equal(video.frames([2]), source[[2]])
            with pytest.raises(ShardError, match="not those that were written"):
                video.frames([3])
    elif what != "grown":
        with pytest.raises(ShardError), closing(cache.open(clip)) as video:
            video.check()
    # nobody looks without --verify; with it, what is broken is prepared again
    assert prepare(folder, Wanted("raw")).made == 0
    done = prepare(folder, Wanted("raw"), verify=True)
    lost = {key[0] for key in done.broken}
    assert done.made == len(lost) and (("train/a/1.mp4" in lost) == (what != "grown"))
    if what in ("frame", "table"):
        assert lost == {"train/a/1.mp4"}
    assert not prepare(folder, Wanted("raw"), verify=True).broken
    assert_whole(folder, 6)


def test_spans_fall_back_to_their_part_of_the_video(tmp_path: Path) -> None:
    file = write_file(tmp_path / "long.mp4", barred_frames(24), g="8")
    settings = listed_twice(tmp_path, file)
    clip = Clip(file, 0, "x", 1.0, 1.5)
    listed, data = list_clips(settings), open_data(settings, 0)
    listed = type(listed)(("a", "b"), type(listed.train)((clip,)), listed.test)
    prepare_clips(
        settings, listed, tmp_path, tmp_path / "prepared/mine", Wanted(), jobs=1, timeout=60, decoder="pyav"
    )
    cache = open_prepared(
        type(data)(settings, (), (), type(data.train)("train", (clip,)), data.test, data.test)
    )
    assert cache is not None
    found = cache.find(clip)
    assert found is not None and found.frames == 6
    shard = cache.folder / found.shard
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8", b"\xff\xd7"))
    with open_clip(clip, "pyav", cache) as video:
        assert [read_number(frame) for frame in video.frames([0, 5, 2])] == [12, 17, 14]


def test_a_changed_video_is_not_served(folder: Path) -> None:
    prepare(folder)
    data = open_data(config_of(folder), 0)
    old = open_prepared(data)
    assert old is not None
    os.utime(folder / "train/a/1.mp4", (1, 1))
    write_file(folder / "train/b/1.mp4", numbered_frames(30, 64, 40))
    cache = open_prepared(data)
    assert cache is not None and len(cache) == 4 and cache.sha256 != old.sha256
    lost = [clip.id for clip in data.train.clips if cache.find(clip) is None]
    assert lost == ["train/a/1.mp4", "train/b/1.mp4"]
    assert prepare(folder).made == 2
    assert_whole(folder, 6)


def test_a_moved_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    prepare(folder)
    data = open_data(config_of(folder), 0)
    before = open_prepared(data)
    there = tmp_path_factory.mktemp("else") / "where"
    shutil.move(folder / "prepared" / "mine", there)
    assert open_prepared(data) is None and cache_folder(config_of(folder)) is None
    moved = open_prepared(open_data(config_of(folder, prepared=str(there)), 0))
    assert moved is not None and before is not None
    assert len(moved) == 6 and moved.sha256 == before.sha256 and moved.folder == there
    assert prepare(folder, out=there).made == 0
    shutil.move(there, folder / "prepared" / "mine")
    root = tmp_path_factory.mktemp("root") / "data"  # videos and cache together; dates are kept
    shutil.move(folder, root)
    assert_whole(root, 6)


def test_switched_off_and_named_wrongly(folder: Path) -> None:
    prepare(folder)
    for value in ("off", False):
        settings = config_of(folder, prepared=value)
        assert settings.prepared == "off" and open_prepared(open_data(settings, 0)) is None
        assert "prepared" not in dataset_state(settings).state
    gone = open_data(config_of(folder, prepared=str(folder / "nowhere")), 0)
    with pytest.raises(UserError, match=r"no .*nowhere/prepared\.json.*datasets prepare mine --out"):
        open_prepared(gone)


def test_a_folder_that_is_only_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    from petl_bench.data.prepared import cache_places

    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PETL_BENCH_DATA", str(home))
    assert cache_places(config_of(folder), folder)[0] == folder / "prepared" / "mine"
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))
    place = cache_places(config_of(folder), folder)[0]
    assert place == home / "mine" / "prepared" / "mine"
    prepare(folder, out=place)
    assert_whole(folder, 6)


def test_broken_files_of_the_cache_are_named(folder: Path) -> None:
    done = prepare(folder)
    data = open_data(config_of(folder), 0)
    index = done.folder / done.card.index
    content = bytearray(index.read_bytes())
    content[200] ^= 1
    index.write_bytes(content)
    with pytest.raises(UserError, match=rf"{index.name} cannot be read: its checksum is wrong"):
        open_prepared(data)
    assert prepare(folder).made == 0  # written again from what is there
    assert_whole(folder, 6)
    for text in (
        "{",
        "{}",
        json.dumps({**json.loads((done.folder / "prepared.json").read_text()), "version": 9}),
    ):
        (done.folder / "prepared.json").write_text(text)
        with pytest.raises(UserError, match=r"prepared\.json cannot be read"):
            open_prepared(data)
        assert "not usable" in dataset_state(config_of(folder)).state
    journal = done.folder / "clips.jsonl"
    journal.write_text(journal.read_text().replace('"frames"', '"fraems"', 1))
    with pytest.raises(UserError, match=r"clips\.jsonl, line 2, cannot be read.*--again"):
        prepare(folder)
    assert prepare(folder, again=True).made == 6
    assert_whole(folder, 6)


def test_another_format_needs_again(folder: Path) -> None:
    old = prepare(folder)
    assert prepare(folder, Wanted(quality=90)).made == 0
    for wanted in (Wanted(quality=80), Wanted("raw"), Wanted(short_side=40)):
        with pytest.raises(UserError, match=r"holds frames as jpeg quality 90, not as .*--again"):
            prepare(folder, wanted)
    new = prepare(folder, Wanted("raw", short_side=40), again=True)
    assert new.made == 6 and read_card(new.folder).format.text == "raw, short side 40"
    assert prepare(folder).made == 0
    left = {path.name for path in new.folder.glob("shard-*.bin")}
    assert left == set(new.card.shards) and not left & set(old.card.shards)
    assert {p.name for p in new.folder.iterdir()} == left | {
        ".lock", "clips.jsonl", "failed.csv", "prepared.json", new.card.index
    }  # fmt: skip


def _lockstep(settings: RunConfig, out: Path, **options: Any) -> Lockstep:
    data = open_data(settings.dataset, settings.recipe.validation)
    return Lockstep([settings], out, data, load_backbone(settings.backbone), **options)


def _stop_after(looks: int) -> Any:
    left = iter(range(looks))

    def stop() -> None:
        if next(left, None) is None:
            raise Interrupted

    return stop


def test_the_record_tells_and_a_resumed_run_notices(
    tmp_path: Path, data_folder: Path, small_runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_DATA", str(tmp_path / "data"))
    (settings,) = small_runs("linear_probe", changes=("recipe.epochs=1",))
    (off,) = small_runs("linear_probe", changes=("recipe.epochs=1", "dataset.prepared=off"))
    name, out = settings.dataset.name, tmp_path / "out"
    with pytest.raises(Interrupted):  # it begins without prepared frames
        _lockstep(settings, out, stop=_stop_after(3)).train()
    root = tmp_path / "data" / name
    place = root / "prepared" / name
    listed = list_clips(settings.dataset)
    options: dict[str, Any] = {"jobs": 1, "timeout": 60, "decoder": "pyav"}
    part = type(listed)(listed.class_names, type(listed.train)(listed.train.clips[:40]), listed.test)
    prepare_clips(settings.dataset, part, root, place, AS_USUAL, **options)
    message = r"the prepared frames .*dataset\.prepared=off.* changed since"
    with pytest.raises(UserError, match=message):
        _lockstep(settings, out)
    _lockstep(off, out)  # goes on as it was begun
    (plain,) = run_all([off], Options(out, workers=0))
    assert plain.status == "done" and plain.provenance and plain.provenance.prepared is None

    with pytest.raises(Interrupted):  # one that begins with them
        _lockstep(settings, tmp_path / "with", stop=_stop_after(3)).train()
    for now_ in (off, settings):
        if now_ is settings:  # and then there are more
            prepare_clips(settings.dataset, listed, root, place, AS_USUAL, **options)
        with pytest.raises(UserError, match=message):
            _lockstep(now_, tmp_path / "with")
    (record,) = run_all([settings], Options(tmp_path / "all", workers=0))
    assert record.provenance and record.provenance.prepared and record.metrics
    prepared = record.provenance.prepared
    assert prepared.format == "jpeg quality 90" and prepared.clips == {
        "train": 48,
        "validation": 16,
        "test": 32,
    }
    assert prepared.decoders == [decoder_version("pyav")] and len(prepared.sha256) == 64
    assert run_all([off], Options(tmp_path / "all", workers=0))[0] == record  # done is done
    os.utime(listed.test.clips[0].path, (1, 1))
    cache = open_prepared(open_data(settings.dataset, 0.25))
    assert cache is not None and cache.sha256 != prepared.sha256
    assert "prepared as jpeg quality 90" in numerics(Run(record, RunFolder(out), ""))["decoder"]


def test_a_cache_that_is_wholly_out_of_date_is_told(folder: Path) -> None:
    prepare(folder)
    for file in folder.glob("t*/*/*.mp4"):
        os.utime(file, (1, 1))
    data = open_data(config_of(folder), 0)
    assert open_prepared(data) is None
    assert "0 of 6 clips" in prepared_text(data, None) and "other dates" in prepared_text(data, None)
    named = open_data(config_of(folder, prepared=str(folder / "prepared" / "mine")), 0)
    with pytest.raises(UserError, match=r"no clip there has the name, size and date.*cp -p"):
        open_prepared(named)


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_read_from_the_video_instead_has_the_prepared_size(folder: Path, gone: bool) -> None:
    prepare(folder, Wanted("raw", short_side=32))
    clip, cache, shard, found = _clip_and_cache(folder)
    data = bytearray(shard.read_bytes())
    data[found.table + found.length - found.stored + 5] ^= 1  # of frame 0
    shard.write_bytes(data)
    if gone:
        shard.unlink()
    with open_clip(clip, "pyav", cache) as video:
        np.testing.assert_array_equal(video.frames([0])[0], shrunk(all_frames(clip.path)[0], 32))
