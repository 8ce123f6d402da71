"""Scores of all methods on a split, in one pass over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from petl_bench.adapted import Frozen
from petl_bench.backbone import VideoViT
from petl_bench.data import Loader
from petl_bench.train.clock import Clock
from petl_bench.train.trainee import Trainee


@dataclass(frozen=True)
class Scored:
    """What evaluation yields for one method.

    Attributes:
        scores: class probabilities averaged over views, (clips, outputs).
        labels: (clips,).
        seconds: the method's own compute with the prefix it uses.
        top1: percent.
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    seconds: float
    top1: float


@torch.no_grad()
def evaluate(
    trainees: Sequence[Trainee],
    backbone: VideoViT,
    loader: Loader,
    precision: torch.dtype,
    failing_alone: Callable[[Trainee], AbstractContextManager[object]] = lambda trainee: nullcontext(),
    tick: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Scored], set[str]]:
    """One pass over a split. Scores of views are averaged after the softmax.

    Args:
        failing_alone: a guard around the work of one method.
        tick: called with (batches done, batches) after each batch.
        stop: called before each batch; raises to end the pass.

    Returns:
        label -> Scored, and the ids of clips that could not be read (they are in no score).
    """
    device = next(backbone.parameters()).device
    depths = sorted({t.model.first_block for t in trainees if "vit" not in t.model.owned})
    prefix, clocks = Clock(device), {t.label: Clock(device) for t in trainees}
    scores: dict[str, list[torch.Tensor]] = {t.label: [] for t in trainees}
    labels: list[torch.Tensor] = []
    unreadable: set[str] = set()
    shapes: set[torch.Size] = set()
    for t in trainees:
        t.model.eval()
    for done, batch in enumerate(loader.epoch(0), start=1):
        stop()
        unreadable.update(batch.unreadable)
        if len(batch.labels):
            clips, _ = batch.to_device(device)
            B, V = clips.shape[:2]
            clips = clips.flatten(0, 1)
            labels.append(batch.labels)
            with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
                if backbone.compiled and clips.shape not in shapes:  # the compiler's time is nobody's
                    shapes.add(clips.shape)
                    frozen = Frozen(backbone, backbone.pixels(clips), backbone.shape_of(clips))
                    for t in [t for t in trainees if t.error is None]:
                        with failing_alone(t):
                            t.model.from_frozen(frozen)
                with prefix.lap():
                    frozen = Frozen(backbone, backbone.pixels(clips), backbone.shape_of(clips))
                for depth in depths:
                    with prefix.lap():
                        frozen.tokens(depth)
                for t in [t for t in trainees if t.error is None]:
                    with failing_alone(t), clocks[t.label].lap():
                        logits = t.model.from_frozen(frozen).float()
                        probabilities = t.objective.probabilities(logits)
                        scores[t.label].append(probabilities.view(B, V, -1).mean(1).double())
        tick(done, len(loader))
    for t in trainees:
        t.model.train()
    laps = np.array(prefix.read()).reshape(-1, 1 + len(depths)).sum(0)  # [pixels, depth 0, depth 1, ...]
    truth = torch.cat(labels) if labels else torch.zeros(0, dtype=torch.int64)
    out = {}
    for t in [t for t in trainees if t.error is None]:
        used = 1 if "vit" in t.model.owned else 2 + depths.index(t.model.first_block)
        got = torch.cat(scores[t.label]).cpu() if labels else torch.zeros(0, t.model.head.out_features)
        top1 = 100 * float(t.objective.right(got, truth).double().mean()) if labels else 0.0
        seconds = sum(clocks[t.label].read()) + float(laps[:used].sum())
        out[t.label] = Scored(got.numpy(), truth.numpy(), seconds, top1)
    return out, unreadable
