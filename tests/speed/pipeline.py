"""From encoded file to model-ready batch: clips per second and core, against what the official code does.

    python tests/speed/pipeline.py [--scenes 6] [--size 224] [--out FILE.json]

On clips encoded here at the sizes and bit rates of SSv2 (VP9 and H.264) and Kinetics, with the protocols of `ssv2`
(RandAugment, RandomResizedCrop) and `k400`, in training and in tests (3 views). Milliseconds of processor time for a
clip, of one process on one core, all kinds in turn:

    plain             plain.py: every frame decoded by PyAV, floats, RandAugment frame by frame
    files, workers    the loader on the files, augmentation in the workers
    files, device     the same with augmentation on the device: what is left to the worker
    jpeg, ...         from what `petl-bench datasets prepare` makes
    raw, device       from `prepare --format raw`, with augmentation on the device
    device            what the device then does, by the clock; it runs beside the workers

The wanted ratios are of `plain` to what the worker does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import made_clips
import torch
from measured import machine, synchronised, write
from plain import PlainReader

from petl_bench.config import validated
from petl_bench.data import AugmentOn, Batch, Clip, Loader, Manifest, open_data
from petl_bench.data.prepare import Wanted, prepare_clips
from petl_bench.data.prepared import PreparedCache, open_prepared
from petl_bench.data.sources import list_clips
from petl_bench.dataset_config import DatasetConfig
from petl_bench.suite import load_dataset

ON: tuple[AugmentOn, ...] = ("workers", "device")
PROTOCOL = {"ssv2-vp9": "ssv2", "ssv2-h264": "ssv2", "kinetics-h264": "k400"}


def data_set(folder: Path, kind: made_clips.Kind, scenes: int) -> DatasetConfig:
    """Two class folders of clips of a kind, with the protocol of the data set that it is like."""
    for i in range(scenes):
        for split in ("train", "test"):
            file = folder / split / f"class{i % 2}" / f"{i}{kind.ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            if split == "train":
                made_clips.write(file, made_clips.scene(kind, i), kind)
            else:
                file.write_bytes((folder / "train" / f"class{i % 2}" / file.name).read_bytes())
    like, _ = load_dataset(PROTOCOL[kind.name], {})
    protocol = like.model_dump(include={"sampling", "interpolation", "augment", "views"})
    own = {"name": kind.name, "summary": "made here", "classes": 2, "source": {"kind": "folders"}}
    return validated(DatasetConfig, {**own, **protocol, "root": str(folder)}, kind.name)


class OwnReader:
    """Reads a split as one batch after the other."""

    def __init__(
        self,
        clips: tuple[Clip, ...],
        config: DatasetConfig,
        size: int,
        train: bool,
        cache: PreparedCache | None,
        on: AugmentOn,
    ) -> None:
        options: dict[str, Any] = {
            "size": size,
            "batch_size": len(clips),
            "seed": 0,
            "train": train,
            "workers": 0,
        }
        self.loader = Loader(Manifest("train", clips), config, augment_on=on, prepared=cache, **options)
        self.epoch = 0
        self.batch: Batch | None = None

    def __call__(self) -> int:
        self.batch = next(self.loader.epoch(self.epoch))
        self.epoch += 1
        return len(self.batch.labels)


def per_clip(work: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Median milliseconds of processor time for a clip; each piece of work returns how many clips it read."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, do in work.items():
            begin = time.process_time()
            clips = do()
            if turn:  # the first is slower
                spent[name].append(1000 * (time.process_time() - begin) / clips)
    return {name: median(values) for name, values in spent.items()}


def measure(folder: Path, kind: made_clips.Kind, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of a kind of clip: training and tests."""
    config = data_set(folder, kind, args.scenes)
    listed = list_clips(config)
    caches: dict[str, PreparedCache | None] = {"files": None}
    for form in ("jpeg", "raw"):
        prepare_clips(config, listed, folder, folder / form, Wanted(kind=form), jobs=1, timeout=600)
        data = open_data(config.model_copy(update={"prepared": str(folder / form)}), 0)
        caches[form] = open_prepared(data)
        assert caches[form] is not None
    rows = []
    for train in (True, False):
        clips = (data.train if train else data.test).clips
        files = [(clip.path, clip.label) for clip in clips]
        stride = config.sampling.stride if config.sampling.mode == "dense" else None
        plain = PlainReader(files, args.size, stride, 0 if train else max(config.views.temporal, 1))
        own = {
            f"{source}, {on}": OwnReader(clips, config, args.size, train, cache, on)
            for source, cache in caches.items()
            for on in (ON if source != "raw" else ON[1:])
        }
        ms = per_clip({"plain": plain.read_all, **own}, args.rounds)
        batch = own["files, device"].batch
        assert batch is not None
        seconds = []
        for _ in range(args.rounds):
            begin = synchronised(args.device)
            batch.to_device(args.device)
            seconds.append(synchronised(args.device) - begin)
        rows.append(
            {
                "clips": kind.name,
                "split": "train" if train else "test, 3 views",
                **{f"{name} ms": value for name, value in ms.items()},
                "device ms": 1000 * median(seconds) / len(batch.labels),
                **{
                    f"{source} x": ms["plain"] / min(ms[name] for name in own if name.startswith(source))
                    for source in caches
                },
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=6, help="different clips of a kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--kinds", default=",".join(PROTOCOL))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for kind in made_clips.KINDS:
            if kind.name in args.kinds.split(","):
                rows += measure(Path(name) / kind.name, kind, args)
    settings = {"scenes": args.scenes, "rounds": args.rounds, "size": args.size}
    write({"machine": machine(args.device), "settings": settings}, rows, args.out)


if __name__ == "__main__":
    main()
