"""In which format should frames be kept: bytes, time of a clip and loss of several, measured on one core.

    taskset -c 1 python tests/speed/cache_formats.py [--clips 3] [--repeats 5] [--out FILE.json]

Clips are made (see made_clips.py) and lie in the page cache. A training clip is 8 frames, one of each of 8 equal
parts; a test clip 3 temporal views of 8 frames. Times are of the processor (others may
use the machine), medians over clips and repeats; PSNR is over all frames
against the frames that the source file decodes to. `naive` decodes every frame of the file with PyAV to RGB.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import torch
from made_clips import KINDS, Kind, scene, write
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import decode_jpeg

from petl_bench.data.decode import open_video
from petl_bench.data.frame_coding import FrameFormat
from petl_bench.data.manifest import Clip
from petl_bench.data.prepare import prepare_clip
from petl_bench.data.sampling import train_indices, view_indices
from petl_bench.data.shards import PreparedVideo
from petl_bench.dataset_config import Sampling
from petl_bench.provenance import device_name, package_versions

Frames = NDArray[np.uint8]
Read = Callable[[Sequence[int]], Frames]
SAMPLING = Sampling(frames=8)
QUALITIES = ((90, 2), (95, 2), (90, 0), (95, 0))  # Pillow's subsampling: 2 is 4:2:0, 0 is 4:4:4


def naive(path: Path) -> Read:
    def read(indices: Sequence[int]) -> Frames:
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        return np.stack([frames[i] for i in indices])

    return read


def opened(path: Path, decoder: str) -> Read:
    def read(indices: Sequence[int]) -> Frames:
        with open_video(path, decoder) as video:
            return video.frames(indices)

    return read


def jpegs(folder: Path, frames: Frames, quality: int, subsampling: int) -> tuple[Path, list[int]]:
    """All frames in one file, and where each begins and the last ends."""
    path, offsets = folder / f"{quality}-{subsampling}.bin", [0]
    with path.open("wb") as out:
        for frame in frames:
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "jpeg", quality=quality, subsampling=subsampling)
            out.write(buffer.getvalue())
            offsets.append(out.tell())
    return path, offsets


def parts(path: Path, offsets: list[int], indices: Sequence[int]) -> list[bytes]:
    with path.open("rb", buffering=0) as file:
        found = []
        for i in indices:
            file.seek(offsets[i])
            found.append(file.read(offsets[i + 1] - offsets[i]))
    return found


def with_pillow(path: Path, offsets: list[int]) -> Read:
    def read(indices: Sequence[int]) -> Frames:
        return np.stack([np.asarray(Image.open(io.BytesIO(p))) for p in parts(path, offsets, indices)])

    return read


def with_torchvision(path: Path, offsets: list[int]) -> Read:
    def read(indices: Sequence[int]) -> Frames:
        data = [torch.frombuffer(bytearray(p), dtype=torch.uint8) for p in parts(path, offsets, indices)]
        return torch.stack([decode_jpeg(d) for d in data]).permute(0, 2, 3, 1).numpy()

    return read


def raw_rgb(path: Path, frames: Frames) -> Read:
    path.write_bytes(frames.tobytes())

    def read(indices: Sequence[int]) -> Frames:
        return np.memmap(path, np.uint8, "r", shape=frames.shape)[list(indices)]

    return read


def raw_yuv(path: Path, frames: Frames) -> Read:
    def plane(frame: Frames) -> Frames:
        return av.VideoFrame.from_ndarray(frame, format="rgb24").to_ndarray(format="yuv420p")

    planes = np.stack(
        [plane(np.ascontiguousarray(f[: len(f) // 2 * 2, : f.shape[1] // 2 * 2])) for f in frames]
    )
    path.write_bytes(planes.tobytes())

    def read(indices: Sequence[int]) -> Frames:
        chosen = np.memmap(path, np.uint8, "r", shape=planes.shape)[list(indices)]
        return np.stack(
            [av.VideoFrame.from_ndarray(p, format="yuv420p").to_ndarray(format="rgb24") for p in chosen]
        )

    return read


def prepared(source: Path, folder: Path, kind: str) -> tuple[int, Read]:
    """As the package does it: opened by the table, every checksum looked at."""
    how = FrameFormat(kind=kind, quality=90 if kind == "jpeg" else None)  # type: ignore[arg-type]
    made = prepare_clip(Clip(source, 0, "x"), folder, how, "pyav")
    assert made.placed is not None, made.reason
    place = made.placed

    def read(indices: Sequence[int]) -> Frames:
        with closing(PreparedVideo(folder, place, how)) as video:
            return video.frames(indices)

    return place.stored, read


def psnr(frames: Frames, reference: Frames) -> float:
    """Decibels; infinite where they are equal."""
    reference = reference[:, : frames.shape[1], : frames.shape[2]]
    error = float(np.mean((frames.astype(np.float32) - reference.astype(np.float32)) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def candidates(kind: Kind, source: Path, folder: Path) -> dict[str, tuple[int, Read]]:
    """name -> bytes of the clip, how it is read."""
    size = source.stat().st_size
    found: dict[str, tuple[int, Read]] = {
        "naive: PyAV, every frame": (size, naive(source)),
        "open_video, decord": (size, opened(source, "decord")),
        "open_video, PyAV": (size, opened(source, "pyav")),
    }
    frames = naive(source)(range(kind.frames))
    even = np.ascontiguousarray(frames[:, :, : frames.shape[2] // 2 * 2])
    for name, gop, crf in (("intra", 1, 18), ("intra", 1, 23), ("GOP 8", 8, 18)):
        options = {"preset": "medium", "g": str(gop), "bf": "0", "crf": str(crf), "threads": "1"}
        file = write(
            folder / f"{name}{crf}.mp4",
            even,
            kind,
            codec="libx264",
            bits=0,
            options={**options, "tune": "fastdecode"},
        )
        for decoder in ("decord", "pyav"):
            found[f"H.264 {name} crf {crf}, {decoder}"] = (file.stat().st_size, opened(file, decoder))
    for quality, sampling in QUALITIES:
        path, offsets = jpegs(folder, frames, quality, sampling)
        what = f"JPEG {quality} {'4:2:0' if sampling else '4:4:4'}"
        found[f"{what}, torchvision"] = (offsets[-1], with_torchvision(path, offsets))
        found[f"{what}, Pillow"] = (offsets[-1], with_pillow(path, offsets))
    found["raw YUV 4:2:0, mapped"] = (frames.nbytes // 2, raw_yuv(folder / "raw.yuv", frames))
    found["raw RGB, mapped"] = (frames.nbytes, raw_rgb(folder / "raw.rgb", frames))
    found["prepared, jpeg quality 90"] = prepared(source, folder, "jpeg")
    found["prepared, raw"] = prepared(source, folder, "raw")
    return found


def timed(read: Read, indices: Sequence[int]) -> float:
    begin = time.process_time()
    read(indices)
    return 1000 * (time.process_time() - begin)


def measure(kind: Kind, clips: int, repeats: int) -> list[dict[str, object]]:
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in range(clips):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = write(folder / f"source{kind.ending}", scene(kind, seed), kind)
            reference = naive(source)(range(kind.frames))
            for candidate, (size, read) in candidates(kind, source, folder).items():
                row = rows.setdefault(candidate, {"bytes": [], "psnr": [], "train": [], "test": []})
                row["bytes"].append(size)
                row["psnr"].append(psnr(read(range(kind.frames)), reference))
                for repeat in range(repeats):
                    draw = train_indices(kind.frames, SAMPLING, np.random.default_rng(repeat)).tolist()
                    row["train"].append(timed(read, draw))
                    views = np.unique(view_indices(kind.frames, SAMPLING, 3)).tolist()
                    row["test"].append(timed(read, views))
    middle = statistics.median
    base = middle(rows["naive: PyAV, every frame"]["train"])
    return [
        {
            "clip": kind.name,
            "format": candidate,
            "bytes": round(statistics.mean(row["bytes"])),
            "train_ms": round(middle(row["train"]), 2),
            "test_ms": round(middle(row["test"]), 2),
            "times_naive": round(base / middle(row["train"]), 1),
            "psnr_db": round(statistics.mean(row["psnr"]), 2),
        }
        for candidate, row in rows.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    av.logging.set_level(av.logging.PANIC)
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        rows += measure(kind, args.clips, args.repeats)
        for row in rows:
            if row["clip"] == kind.name:
                print(
                    f"{row['clip']:14} {row['format']:30} {row['bytes']:>12,} B  train {row['train_ms']:>7} ms  "
                    f"test {row['test_ms']:>7} ms  {row['times_naive']:>6} x  {row['psnr_db']:>6} dB",
                    flush=True,
                )
    result = {
        "machine": f"{device_name('cpu')}, one core, {platform.platform()}",
        "packages": package_versions(),
        "clips": args.clips,
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
