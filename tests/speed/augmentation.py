"""What a training clip costs the workers and the device, with augmentation on either.

    python tests/speed/augmentation.py [--clips 64] [--batch 16] [--device cpu] [--out FILE.json]

On files encoded here: 427 x 240 pixels (426 in H.264), 48 frames, with the protocol of `ssv2` (RandAugment, crop and
resize); 340 x 256 pixels, 300 frames, H.264, with that of `k400`. Milliseconds for a clip: of CPU time for the
workers (a busy machine changes them little), of CPU time or, on a GPU, of the GPU's own for the device. The first
batch counts for neither.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from video_files import write_file

from petl_bench.data import AugmentOn, Clip, Loader, Manifest
from petl_bench.dataset_config import DatasetConfig
from petl_bench.provenance import device_name, package_versions
from petl_bench.suite import load_dataset

FILES = {  # name -> data set, codec, ending, height, width, frames
    "ssv2, VP9": ("ssv2", "libvpx-vp9", ".webm", 240, 427, 48),
    "ssv2, H.264": ("ssv2", "libx264", ".mp4", 240, 426, 48),
    "k400, H.264": ("k400", "libx264", ".mp4", 256, 340, 300),
}


def write_files(folder: Path, codec: str, ending: str, height: int, width: int, frames: int) -> list[Path]:
    """Two videos of a picture that drifts, with a little noise."""
    files = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        coarse = torch.from_numpy(rng.integers(0, 256, (1, 3, 16, 24)).astype(np.float32))
        large = torch.nn.functional.interpolate(coarse, (height + frames, width + frames), mode="bicubic")
        picture = large[0].permute(1, 2, 0).numpy()
        noise = rng.integers(-6, 7, (height, width, 3))
        video = [
            np.clip(picture[i : i + height, i : i + width] + np.roll(noise, i), 0, 255) for i in range(frames)
        ]
        options = {"crf": "30", "b": "0", "cpu-used": "5"} if "vp9" in codec else {"preset": "medium"}
        pixels = np.stack(video).astype(np.uint8)
        files.append(write_file(folder / f"{seed}{ending}", pixels, codec, **options))
    return files


def measure(
    files: list[Path], config: DatasetConfig, clips: int, size: int, device: torch.device, on: AugmentOn
) -> dict[str, float]:
    """Milliseconds for a clip: of its worker, and of the device."""
    manifest = Manifest("train", tuple(Clip(files[i % len(files)], 0, str(i)) for i in range(clips + size)))
    options = {"size": 224, "batch_size": size, "seed": 0, "train": True, "workers": 0}
    loader = Loader(manifest, config, augment_on=on, pin_memory=device.type == "cuda", **options)  # type: ignore[arg-type]
    worker, there = [], []
    batches = loader.epoch(0)
    for _ in range(len(loader)):
        begin = time.process_time()
        batch = next(batches)
        worker.append(time.process_time() - begin)
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            batch.to_device(device)
            end.record()
            torch.cuda.synchronize()
            there.append(start.elapsed_time(end) / 1000)
        else:
            begin = time.process_time()
            batch.to_device(device)
            there.append(time.process_time() - begin)
    per_clip = 1000 / (size * (len(loader) - 1))
    return {
        "worker_ms": round(sum(worker[1:]) * per_clip, 2),
        "device_ms": round(sum(there[1:]) * per_clip, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {"device": device_name(args.device), "packages": package_versions()}
    for name, (dataset, *video) in FILES.items():
        config, *_ = load_dataset(dataset)
        with tempfile.TemporaryDirectory() as folder:
            files = write_files(Path(folder), *video)  # type: ignore[arg-type]
            result[name] = {
                on: measure(files, config, args.clips, args.batch, torch.device(args.device), on)
                for on in ("workers", "device")
            }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
