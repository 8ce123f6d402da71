"""A training run in plain PyTorch, from files to scores: what the package's loop must equal.

Nothing of `petl_bench.train` and `petl_bench.data` is used, but for the paths and labels of the clips. It follows the
documentation: what chance decides is a function of (seed, epoch, step, position) alone. Forward passes are those of
the methods' modules, which have references of their own.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from video_files import all_frames

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import VideoViT
from petl_bench.config import RunConfig
from petl_bench.data import Clip
from petl_bench.method import make_method

ORDER, CLIP, SHUFFLE = 0, 1, 2  # what a stream of random numbers is for

# the parameters with weight decay, by the ends of their names; all others have none
HEAD = r"head\.weight"
ATTENTION = r"attn\.(qkv|proj)\.weight"
BLOCK = rf"{ATTENTION}|mlp\.fc[12]\.weight"
DECAYS = {
    "linear_probe": HEAD,
    "attentional_pooling": rf"{HEAD}|pooling\.(kv|proj)\.weight",
    "prompt": HEAD,
    "lora": rf"{HEAD}|\.[ab]\.weight",
    "st_adapter": rf"{HEAD}|(down|conv|up)\.weight",
    "partial": rf"{HEAD}|{BLOCK}",
    "temporal": rf"{HEAD}|{ATTENTION}|linear\.weight",
    "full": rf"{HEAD}|{BLOCK}|linear\.weight|patch_embed\.proj\.weight",
}
# what the learning rate is multiplied by for everything but copies of pretrained weights, where no setting says it
FRESH_LR = {"full": 10.0}
PRETRAINED = r"owned\.|slots\.\d+_before_attn\.(norm|attn)\."  # their names begin so


@dataclass
class PlainRun:
    """What a run leaves behind. Scores are class probabilities, (clips, classes)."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    lines: list[dict[str, float]] = field(default_factory=list)  # of the log, training and validation
    validations: list[NDArray[np.float64]] = field(default_factory=list)
    tests: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # order of the frames -> scores
    norms: list[float] = field(default_factory=list)  # of the gradient, before clipping
    batches: list[tuple[int, ...]] = field(default_factory=list)  # positions of the clips


def seed_for(*parts: int | str) -> int:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") // 2


def stream(purpose: int, seed: int, epoch: int, position: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((purpose, seed, epoch, position))))


@cache
def whole_video(path: Path) -> NDArray[np.uint8]:
    return all_frames(path)


def training_clip(clip: Clip, config: RunConfig, size: int, epoch: int, position: int) -> Tensor:
    """(T, 3, S, S): a random frame of each of T equal parts, one random square and one flip for all of them."""
    rng = stream(CLIP, config.seed, epoch, position)
    frames, T = whole_video(clip.path), config.dataset.sampling.frames
    length, height, width, _ = frames.shape
    assert height == size, "videos of another size would be resized, which is not written here"
    numbers = [int((part + rng.random()) * length / T) for part in range(T)]
    rng.uniform(1.0, 1.0)  # the scale; the same for all, here
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    square = frames[numbers, top : top + size, left : left + size]
    if rng.random() < 0.5:
        square = square[:, :, ::-1]
    return torch.from_numpy(square.copy()).permute(0, 3, 1, 2)


def test_views(clip: Clip, config: RunConfig, size: int, order: str, position: int) -> Tensor:
    """(3, T, 3, S, S): the middle frame of each of T equal parts; left, centre and right."""
    frames, T = whole_video(clip.path), config.dataset.sampling.frames
    length, _, width, _ = frames.shape
    numbers = [((2 * part + 1) * length - T) // (2 * T) for part in range(T)]
    if order == "reversed":
        numbers = numbers[::-1]
    elif order == "shuffled":
        numbers = stream(SHUFFLE, config.seed, 0, position).permutation(numbers).tolist()
    room = width - size
    views = [frames[numbers, :, left : left + size] for left in (0, room // 2, room)]
    return torch.from_numpy(np.stack(views)).permute(0, 1, 4, 2, 3)


def plain_model(config: RunConfig, backbone: VideoViT) -> AdaptedViT:
    """The head is drawn first, alike for all methods; then what the method adds."""
    method, dataset = make_method(config.method.name, config.method.settings), config.dataset
    torch.manual_seed(seed_for("init", config.seed))
    model = AdaptedViT(backbone, dataset.classes, dataset.sampling.frames, config.recipe.head_dropout)
    model.first_block = method.first_block(backbone)
    torch.manual_seed(seed_for("adapt", config.seed))
    method.adapt(model)
    return model


def log_probabilities(logits: Tensor) -> Tensor:
    shifted = logits - logits.max(1, keepdim=True).values
    return shifted - shifted.exp().sum(1, keepdim=True).log()


def smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Of each clip, the right class has 1 - smoothing of the target, and all classes share the rest."""
    log_p, total = log_probabilities(logits), torch.zeros(())
    for row, label in zip(log_p, labels.tolist(), strict=True):
        total = total - (1 - smoothing) * row[label] - smoothing * row.mean()
    return total / len(labels)


def rate_at(step: int, steps: int, warmup: int, peak: float) -> float:
    """Of the step with this number, from 0: up in equal parts, the last of which is the peak, then down a cosine."""
    done, left = step - warmup, steps - warmup
    return peak * (step + 1) / warmup if step < warmup else peak * math.cos(math.pi / 2 * done / left) ** 2


def decays(method: str, name: str) -> bool:
    return re.search(rf"({DECAYS[method]})$", name) is not None


def rate_multiple(config: RunConfig, name: str) -> float:
    fresh = config.method.settings.get("fresh_lr", FRESH_LR.get(config.method.name, 1.0))
    return 1.0 if re.match(PRETRAINED, name) else fresh


def plain_optimizer(model: AdaptedViT, config: RunConfig) -> torch.optim.Optimizer:
    """A group for each parameter; the loop sets its rate."""
    decay = config.recipe.weight_decay
    groups = [
        {
            "params": [p],
            "multiple": rate_multiple(config, name),
            "weight_decay": decay if decays(config.method.name, name) else 0.0,
        }
        for name, p in model.named_parameters()
    ]
    return torch.optim.AdamW(groups, lr=1.0, betas=config.recipe.betas, foreach=False, fused=False)


def clip_gradient(parameters: Sequence[Tensor], largest: float) -> float:
    """The norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float(g.double().pow(2).sum()) for g in gradients))
    for g in gradients:
        g.mul_(min(1.0, largest / (norm + 1e-6)))
    return norm


@torch.no_grad()
def plain_scores(
    model: AdaptedViT, clips: Sequence[Clip], config: RunConfig, order: str = "kept"
) -> NDArray[np.float64]:
    """Mean over the views of each clip of the class probabilities; one clip at a time."""
    model.eval()
    rows = []
    for position, clip in enumerate(clips):
        views = test_views(clip, config, model.backbone.image_size, order, position)
        rows.append(log_probabilities(model(views)).exp().double().mean(0))
    model.train()
    return torch.stack(rows).numpy()


def percent_right(scores: NDArray[np.float64], clips: Sequence[Clip]) -> float:
    right = [int(row.argmax()) == clip.label for row, clip in zip(scores, clips, strict=True)]
    return 100 * sum(right) / len(right)


def epoch_batches(count: int, config: RunConfig, epoch: int) -> Iterator[list[int]]:
    """Positions of the clips; those left over at the end are left out."""
    order = stream(ORDER, config.seed, epoch, 0).permutation(count).tolist()
    size = config.recipe.batch_size
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def train_plainly(
    config: RunConfig,
    backbone: VideoViT,
    train: Sequence[Clip],
    validation: Sequence[Clip],
    test: Sequence[Clip],
    log_every: int = 10,
) -> PlainRun:
    """Train, validate and test one method.

    Args:
        log_every: steps between two lines of the log; there is one at the end of each epoch too.
    """
    recipe, run = config.recipe, PlainRun()
    per_epoch = len(train) // recipe.batch_size
    steps, warmup = recipe.epochs * per_epoch, round(recipe.warmup_epochs * per_epoch)
    peak = (config.method.lr or recipe.lr) * recipe.batch_size / (recipe.lr_batch or recipe.batch_size)
    model = plain_model(config, backbone).train()
    optimizer = plain_optimizer(model, config)
    since: list[tuple[float, float]] = []  # (loss, share right) since the last line
    step = 0
    for epoch in range(recipe.epochs):
        for positions in epoch_batches(len(train), config, epoch):
            size = backbone.image_size
            clips = torch.stack([training_clip(train[p], config, size, epoch, p) for p in positions])
            labels = torch.tensor([train[p].label for p in positions])
            torch.manual_seed(seed_for("step", config.seed, step))  # of the dropout masks
            logits = model(clips)
            loss = smoothed_loss(logits, labels, recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            assert recipe.grad_clip is not None
            run.norms.append(clip_gradient(list(model.parameters()), recipe.grad_clip))
            rate = rate_at(step, steps, warmup, peak)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["multiple"]
            optimizer.step()
            step += 1
            run.batches.append(tuple(positions))
            since.append((loss.item(), float((logits.argmax(1) == labels).float().mean())))
            if step % log_every == 0 or step % per_epoch == 0:
                mean_loss, share = np.mean(since, axis=0)
                run.lines.append({"step": step, "loss": mean_loss, "lr": rate, "train_top1": 100 * share})
                since.clear()
        if (epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs:
            scores = plain_scores(model, validation, config)
            run.validations.append(scores)
            run.lines.append({"step": step, "top1": percent_right(scores, validation)})
    run.tests = {o: plain_scores(model, test, config, o) for o in ("kept", "reversed", "shuffled")}
    run.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return run
