"""Does memory grow with the clips that were read, or with the steps that were trained?

    python tests/speed/leaks.py [--clips 10000] [--steps 2000] [--workers 1] [--only decord] [--out FILE.json]

Decodes clips of a few files made here (H.264 and VP9, and broken ones) through `open_video` with each decoder and
through `Loader` with workers, then trains a lockstep of small steps. The resident memory of this process and of its
children is sampled on the way; after a first fifth, which fills caches, a line is put through the samples. Prints
its slope in bytes per clip or step with the standard error, and open files and threads at both ends. A slope of
less than a few of its errors is none; less than 100 bytes is 100 MB in a million clips.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from petl_bench.backbone import load_backbone
from petl_bench.data import Clip, Loader, Manifest, open_data
from petl_bench.data.decode import DecodeError, open_video
from petl_bench.provenance import package_versions
from petl_bench.report.table import markdown_table
from petl_bench.suite import Request, expand
from petl_bench.train.lockstep import READ_EVERY, Lockstep

SAMPLES = 50
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Growth:
    """What a long repetition left behind.

    Attributes:
        slope, error: bytes of resident memory per item, and the standard error.
        start_mb, end_mb: resident memory.
        handles: open files + threads at the start and at the end.
        first_ms, last_ms: median time of an item in the first and the last quarter.
    """

    name: str
    items: int
    slope: float
    error: float
    start_mb: float
    end_mb: float
    handles: tuple[int, int]
    first_ms: float
    last_ms: float


def processes() -> list[int]:
    """This process and all below it."""
    found = [os.getpid()]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def resident() -> int:
    """Bytes of resident memory of this process and its children, shared pages counted in each."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in processes())


def handles() -> int:
    return sum(len(os.listdir(f"/proc/{pid}/{kind}")) for pid in processes() for kind in ("fd", "task"))


def observe(name: str, items: int, work: Callable[[], Any]) -> Growth:
    """Call `work` once for each item, and see what grows."""
    every = max(1, items // SAMPLES)
    seen: list[tuple[int, int]] = []
    times = np.full(items, np.nan)  # written to now, so that this script's own notes do not grow
    work()
    before = 0
    for i in range(1, items + 1):
        begin = time.perf_counter()
        work()
        times[i - 1] = 1000 * (time.perf_counter() - begin)
        if i % every == 0:
            seen.append((i, resident()))
        if i == max(every, items // 5):
            before = handles()
    x, y = np.array([s for s in seen if s[0] > items // 5], dtype=float).T
    slope, error = line(x, y)
    quarter = len(times) // 4
    ends = float(np.median(times[:quarter])), float(np.median(times[-quarter:]))
    mib = 2.0**20
    growth = Growth(
        name, items, slope, error, seen[0][1] / mib, seen[-1][1] / mib, (before, handles()), *ends
    )
    print(f"{name}: {slope:+.0f} ± {error:.0f} bytes an item", flush=True)
    return growth


def line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """The slope of the line of least squares, and its standard error, as if samples were independent."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    return slope, float(np.sqrt(rest @ rest / max(1, len(x) - 2) / (centred @ centred)))


def make_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """(whole files, broken files)."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 256, (12, 16, 3)).repeat(10, 0).repeat(10, 1)
    frames = [np.roll(ground, 3 * i, 1).astype(np.uint8) for i in range(24)]
    good, bad = [], []
    for name, codec, options in (
        ("h264.mp4", "libx264", {"g": "12", "bf": "0"}),
        ("h264_b.mp4", "libx264", {"g": "24", "bf": "2"}),
        ("vp9.webm", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    ):
        path = folder / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=12, options=options)
            stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        good.append(path)
        data = path.read_bytes()
        half = folder / f"half_{name}"
        half.write_bytes(data[: len(data) // 2])
        spoilt = folder / f"spoilt_{name}"
        middle = len(data) // 2
        spoilt.write_bytes(
            data[:middle] + bytes(rng.integers(0, 256, 2000, dtype=np.uint8)) + data[middle + 2000 :]
        )
        bad += [half, spoilt]
    empty = folder / "empty.mp4"
    empty.write_bytes(b"")
    return good, [*bad, empty, folder / "missing.mp4"]


def reading(paths: list[Path], decoder: str) -> Callable[[], None]:
    """Reads a clip of the next file in turn."""
    turn: Iterator[int] = count()

    def read() -> None:
        i = next(turn)
        try:
            with open_video(paths[i % len(paths)], decoder) as video:
                video.frames([i % 3, 5, 11, 20])
        except DecodeError:
            pass

    return read


def loading(paths: list[Path], workers: int) -> tuple[Callable[[], None], Loader]:
    """Reads the next batch of 8."""
    config = expand(Request("demo", ["linear_probe"]))[0].dataset
    clips = tuple(Clip(id=f"{i}", path=paths[i % len(paths)], label=0) for i in range(640))
    loader = Loader(
        Manifest("train", clips), config, size=64, batch_size=8, seed=0, train=True, workers=workers
    )

    def batches() -> Iterator[Any]:
        for epoch in count():
            yield from loader.epoch(epoch)

    endless = batches()
    return lambda: next(endless), loader


def training(folder: Path) -> Callable[[], None]:
    """Trains the next step of a small lockstep, with the looks at times and losses and the saving of a real one."""
    changes = ["dataset.source.train_clips=64", "dataset.source.test_clips=16", "recipe.validation=0"]
    changes += ["recipe.batch_size=1", "recipe.epochs=100000", "dataset.sampling.frames=2"]
    configs = expand(Request("demo", ["linear_probe", "st_adapter", "prompt"], changes=changes))
    data = open_data(configs[0].dataset, 0)
    lockstep = Lockstep(configs, folder, data, load_backbone(configs[0].backbone))
    batches = lockstep._batches(0)

    def step() -> None:
        at, batch = next(batches)
        lockstep._step(at, batch)
        if (at + 1) % READ_EVERY == 0:
            lockstep._read(line=True)
        if (at + 1) % lockstep.steps_per_epoch == 0:
            lockstep._save(at + 1)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=["decord", "pyav", "loader", "lockstep"])
    parser.add_argument("--shared", action="store_true", help="note that others worked on the machine")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: list[Growth] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good, bad = make_files(folder)
        for decoder in (d for d in ("decord", "pyav", "torchcodec") if d in args.only):
            found.append(observe(f"{decoder}, whole files", args.clips, reading(good, decoder)))
            found.append(observe(f"{decoder}, broken files", args.clips // 4, reading(bad, decoder)))
        if "loader" in args.only:
            work, loader = loading([*good, *bad], args.workers)
            found.append(observe(f"Loader, {args.workers} workers, batches of 8", args.clips // 8, work))
            loader.close()
        if "lockstep" in args.only:
            found.append(observe("lockstep of 3, steps", args.steps, training(folder / "runs")))
    head = [
        "what",
        "items",
        "bytes per item",
        "± error",
        "resident MiB",
        "files + threads",
        "ms, first",
        "last",
    ]
    rows = [
        [
            g.name,
            f"{g.items}",
            f"{g.slope:+.0f}",
            f"{g.error:.0f}",
            f"{g.start_mb:.0f} -> {g.end_mb:.0f}",
            f"{g.handles[0]} -> {g.handles[1]}",
            f"{g.first_ms:.2f}",
            f"{g.last_ms:.2f}",
        ]
        for g in found
    ]
    text = markdown_table(head, rows)
    print(text)
    if args.out:
        settings = {k: v for k, v in vars(args).items() if k != "out"}
        result = {"settings": settings, "packages": package_versions(), "growth": [asdict(g) for g in found]}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
