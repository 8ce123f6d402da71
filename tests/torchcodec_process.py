"""Reads every file of a folder through torchcodec and prints what came, as JSON. A process of its own: torchcodec
crashes in one where decord has decoded AV1."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from video_files import all_frames, read_number
from video_kinds import queries

from petl_bench.data.decode import DecodeError, open_video, silence_decoders

silence_decoders()
told = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with open_video(path, "torchcodec") as video:
            if sys.argv[2] == "last":  # of files that are expected to be broken
                video.frames([0, video.frame_count // 2, video.frame_count - 1])
                told[path.name] = {"read": True}
                continue
            reference = all_frames(path)
            worst, right = 0, video.frame_count == len(reference)
            for indices in queries(len(reference)):
                frames = video.frames(indices)
                right &= [read_number(f) for f in frames] == [read_number(reference[i]) for i in indices]
                worst = max(worst, int(np.abs(frames.astype(int) - reference[indices]).max()))
            told[path.name] = {"decoder": video.name, "right": right, "worst": worst}
    except DecodeError as error:
        told[path.name] = {"error": str(error)}
print(json.dumps(told))
