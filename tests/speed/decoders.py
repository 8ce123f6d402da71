"""What the 8 frames of a training clip cost with each decoder, opening included: processor time, on clips made here.

    python tests/speed/decoders.py [--scenes 3] [--rounds 5] [--out FILE.json]

Which frames: the draws of `ssv2` and `k400`, the same for all decoders; of the rendered clips those of `synth_motion`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib import util
from pathlib import Path
from statistics import median
from typing import Any

import made_clips
import numpy as np
import torch
from measured import machine, write

from petl_bench.data.decode import open_video, silence_decoders
from petl_bench.data.encode import write_video
from petl_bench.data.sampling import train_indices
from petl_bench.dataset_config import Sampling

SPARSE, DENSE = Sampling(mode="official_segments"), Sampling(mode="dense", stride=16)


def milliseconds(files: list[Path], sampling: Sampling, decoder: str, rounds: int) -> float:
    spent = []
    for turn in range(rounds + 1):
        rng = np.random.default_rng(turn)
        begin = time.process_time()
        for file in files:
            with open_video(file, decoder) as video:
                video.frames(np.unique(train_indices(video.frame_count, sampling, rng)).tolist())
        if turn:  # the first is slower
            spent.append(1000 * (time.process_time() - begin) / len(files))
    return median(spent)


def rendered(folder: Path, scenes: int) -> list[Path]:
    files = [folder / f"rendered{i}.mp4" for i in range(scenes)]
    kind = made_clips.Kind("rendered", 64, 64, 24, 12, "", ".mp4", 0, {})
    for i, file in enumerate(files):
        write_video(file, made_clips.scene(kind, i))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    silence_decoders()
    decoders = [d for d, module in (("decord", "decord"), ("pyav", "av")) if util.find_spec(module)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {"rendered, 64 x 64": (rendered(folder, args.scenes), SPARSE)}
        for kind in made_clips.KINDS:
            files = [folder / f"{kind.name}{i}{kind.ending}" for i in range(args.scenes)]
            for i, file in enumerate(files):
                made_clips.write(file, made_clips.scene(kind, i), kind)
            sets[kind.name] = (files, DENSE if kind.frames > 100 else SPARSE)
        for label, (files, sampling) in sets.items():
            ms = {f"{d} ms": milliseconds(files, sampling, d, args.rounds) for d in decoders}
            rows.append({"clips": label, **ms})
    settings = {"scenes": args.scenes, "rounds": args.rounds}
    write({"machine": machine(torch.device("cpu")), "settings": settings}, rows, args.out)


if __name__ == "__main__":
    main()
