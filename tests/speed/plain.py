"""What people do today, written out: the reader and the loop that the fast paths are measured against.

The reader does what the official ST-Adapter code does (linziyi96/st-adapter, video_dataset/dataset.py): PyAV decodes
every frame of the file, chosen frames become float, RandAugment runs frame by frame in Pillow, crop and resize and
normalisation on floats, all on the CPU. The loop is an eager autocast loop with `nn.Conv3d`: each method alone, the
whole network in every step, nothing shared. RandAugment is timm's, drawn anew for every frame: the same cost.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor
from torch.utils.data import Dataset

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import CLIP_MEAN, CLIP_STD, embed
from petl_bench.kernels import set_plain


class PlainReader(Dataset[tuple[Tensor, int]]):
    """Clips as the official code reads them.

    Args:
        files: (path, label) of each clip.
        size: of the network, pixels.
        stride: of dense sampling; None takes one frame of each of 8 segments, with RandAugment and RandomResizedCrop.
        views: 0 reads training clips, else so many temporal (dense) or spatial (segments) test views.
    """

    def __init__(
        self, files: list[tuple[Path, int]], size: int, stride: int | None, views: int = 0, frames: int = 8
    ) -> None:
        self.files, self.size, self.stride, self.views, self.frames = files, size, stride, views, frames
        fill = {"translate_pct": 0.45, "img_mean": (128, 128, 128), "interpolation": Image.Resampling.BICUBIC}
        self.augment = rand_augment_transform("rand-m7-n4-mstd0.5-inc1", fill)

    def __len__(self) -> int:
        return len(self.files)

    def read_all(self) -> int:
        """Read every clip once; how many there were."""
        for index in range(len(self)):
            self[index]
        return len(self)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """(views, 3, T, S, S) normalised float32, and the label."""
        path, label = self.files[index]
        with av.open(str(path)) as container:
            every = {frame.pts: frame for frame in container.decode(video=0)}
        ordered = [every[pts] for pts in sorted(every)]
        picked = self._picked(len(ordered))
        pictures = [[ordered[i].to_rgb().to_ndarray() for i in row] for row in picked]
        return torch.cat([self._transformed(np.stack(row)) for row in pictures]), label

    def _picked(self, length: int) -> list[list[int]]:
        T = self.frames
        if self.stride is None:
            bounds = np.linspace(0, length, T + 1).astype(int)
            pairs = [(a, max(a + 1, b)) for a, b in itertools.pairwise(bounds)]
            if self.views:
                return [[(a + b) // 2 for a, b in pairs]]
            return [[random.randrange(a, b) for a, b in pairs]]
        room = max(length - (T - 1) * self.stride, 1)
        starts = np.linspace(0, room - 1, self.views).astype(int) if self.views else [random.randrange(room)]
        return [[min(int(s) + t * self.stride, length - 1) for t in range(T)] for s in starts]

    def _transformed(self, frames: np.ndarray) -> Tensor:
        """(T, H, W, 3) uint8 -> (spatial views, 3, T, S, S)."""
        S = self.size
        if self.stride is None and not self.views:
            frames = np.stack([np.asarray(self.augment(Image.fromarray(f))) for f in frames])
        video = torch.from_numpy(frames).float().div(255).permute(3, 0, 1, 2)  # (3, T, H, W)
        mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1, 1)
        video = (video - mean) / std
        H, W = video.shape[-2:]
        if self.stride is None and not self.views:
            share, ratio = random.uniform(0.08, 1), random.uniform(0.75, 4 / 3)
            h = min(H, max(1, round((H * W * share / ratio) ** 0.5)))
            w = min(W, max(1, round((H * W * share * ratio) ** 0.5)))
            top, left = random.randint(0, H - h), random.randint(0, W - w)
            return _resize(video[..., top : top + h, left : left + w], S, S)[None]
        short = S if self.views else round(S * random.uniform(1, 1.15))
        h, w = (short, W * short // H) if H < W else (H * short // W, short)
        video = _resize(video, h, w)
        if self.stride is None:  # three crops along the long side
            return torch.stack([video[..., :S, x : x + S] for x in (0, (w - S) // 2, w - S)])
        if self.views:
            top, left = (h - S) // 2, (w - S) // 2
        else:
            top, left = random.randint(0, h - S), random.randint(0, w - S)
        return video[..., top : top + S, left : left + S][None]


def _resize(video: Tensor, height: int, width: int) -> Tensor:
    frames = video.transpose(0, 1)
    return F.interpolate(frames, (height, width), mode="bicubic", align_corners=False).transpose(0, 1)


def plain_optimizer(model: AdaptedViT) -> torch.optim.Optimizer:
    """AdamW as it comes."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)


def plain_step(
    model: AdaptedViT,
    optimizer: torch.optim.Optimizer,
    frames: Tensor,
    labels: Tensor,
    precision: torch.dtype,
) -> None:
    """One step of an eager autocast loop on normalised frames (B*T, 3, S, S), by the plain twins of all kernels."""
    set_plain(model, True)
    set_plain(model.backbone, True)
    B, S = len(labels), frames.shape[-1]
    shape = model.backbone.shape_of(frames.view(B, -1, 3, S, S))
    with torch.autocast(frames.device.type, dtype=precision, enabled=precision != torch.float32):
        x = embed(model.vit, frames)
        logits = model.from_tokens(x, shape, 0)
        loss = F.cross_entropy(logits.float(), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
