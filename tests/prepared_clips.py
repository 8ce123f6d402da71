"""Small data sets of videos, prepared: what the tests of prepared frames share."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from publishers import config
from video_files import all_frames, numbered_frames, write_file

from petl_bench.data import Clip, open_data
from petl_bench.data.frame_coding import FrameFormat
from petl_bench.data.prepare import Made, Prepared, Wanted, prepare_clip, prepare_clips
from petl_bench.data.prepared import open_prepared
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import DatasetConfig

FILES = ("train/a/1", "train/a/2", "train/b/1", "train/b/2", "test/a/1", "test/b/1")
AS_USUAL = Wanted()
SHAPES = [(48, 64, 24), (41, 63, 20), (64, 40, 1), (48, 64, 9), (50, 70, 33), (48, 64, 12)]


def write_clips(root: Path) -> Path:
    """Two classes of clips of several sizes, two of odd numbers of pixels; returns the folder."""
    for seed, (name, (height, width, length)) in enumerate(zip(FILES, SHAPES, strict=True)):
        frames = numbered_frames(length, height, width, seed=seed)
        pixels = "yuv444p" if height % 2 else "yuv420p"
        write_file(root / f"{name}.mp4", frames, preset="ultrafast", g="8", pixels=pixels)
    return root


def config_of(root: Path, **fields: Any) -> DatasetConfig:
    return config("folders", root, 2, **fields)


def prepare(root: Path, wanted: Wanted = AS_USUAL, out: Path | None = None, **options: Any) -> Prepared:
    settings = options.pop("config", None) or config_of(root)
    defaults: dict[str, Any] = {"jobs": 1, "timeout": 60.0, "decoder": "pyav"}
    place = out or root / "prepared" / "mine"
    listed = options.pop("listed", None) or list_clips(settings)
    return prepare_clips(settings, listed, root, place, wanted, **{**defaults, **options})


def psnr(a: Any, b: Any) -> float:
    error = np.mean((np.float64(a) - np.float64(b)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def interrupted(clip: Clip, folder: Path, how: FrameFormat, log: str, at: str, do: str) -> Made:
    """Notes what it was asked for; at one clip something happens to its process."""
    with Path(log).open("a") as out:
        out.write(clip.id + "\n")
    if clip.id == at and do == "wait":
        time.sleep(600)
    made = prepare_clip(clip, folder, how, "pyav")
    if clip.id == at and do == "crash":  # after it has written, before it has answered
        os.kill(os.getpid(), signal.SIGSEGV)
    return Made(full=os.strerror(errno.ENOSPC)) if clip.id == at and do == "full" else made


def interrupted_at(root: Path, log: Path, at: str = "", do: str = "") -> Any:
    place = root / "prepared" / "mine"
    return partial(interrupted, folder=place, how=FrameFormat(), log=str(log), at=at, do=do)


def listed_twice(root: Path, file: Path) -> DatasetConfig:
    (root / "train.txt").write_text(f"{file.name} 0\n{file.name} 0\n")
    (root / "test.txt").write_text(f"{file.name} 0\n")
    return config("list", root, 2)


def kept(root: Path) -> set[str]:
    lines = (root / "prepared" / "mine" / "clips.jsonl").read_text().splitlines()[1:]
    return {json.loads(line)["id"] for line in lines}


def assert_whole(root: Path, count: int) -> None:
    data = open_data(config_of(root), 0)
    cache = open_prepared(data)
    assert cache is not None and len(cache) == count
    for clip in (*data.train.clips, *data.test.clips):
        video = cache.open(clip)
        if video is not None:
            with closing(video):
                video.check()
                assert psnr(video.frames(range(video.frame_count)), all_frames(clip.path)) > 30
