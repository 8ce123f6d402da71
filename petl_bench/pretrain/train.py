"""Contrastive pretraining on stills that are rendered as they are needed: no files, no data to load.

Source: Radford et al. 2021 (CLIP), the symmetric InfoNCE loss with a learned temperature.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from petl_bench.checkpoint import checkpoint_bytes, read_checkpoint
from petl_bench.errors import UserError
from petl_bench.pretrain.captions import caption_tokens
from petl_bench.pretrain.card import write_outputs
from petl_bench.pretrain.config import PretrainConfig
from petl_bench.pretrain.evaluate import evaluate, normalised
from petl_bench.pretrain.model import new_clip, parameter_groups
from petl_bench.pretrain.stills import draw_stills, sample_stills
from petl_bench.results import write_atomic

LOGIT_SCALE_LIMIT = math.log(100)


@dataclass(frozen=True)
class Progress:
    """How far a pretraining is."""

    step: int
    steps: int
    loss: float  # mean since the last report
    stills_per_second: float
    seconds_left: float


@dataclass
class _State:
    """What a checkpoint holds besides weights and moments."""

    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)


def stream(device: torch.device, seed: int, kind: str, step: int) -> torch.Generator:
    """The random stream of one step: no state to keep, so that a resumed run sees the same stills."""
    digest = hashlib.blake2b(f"petl-bench/stills/{kind}/{seed}/{step}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero; `step` counts from 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * share))


def clip_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of unit features (N, D); row i of both belongs together."""
    logits = scale * image.float() @ text.float().T
    target = torch.arange(len(image), device=image.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def pretrain(
    config: PretrainConfig,
    out: Path,
    *,
    device: str = "auto",
    progress: Callable[[Progress], None] = lambda _: None,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Pretrain the embedded CLIP, or go on where `out` holds a checkpoint of the same config.

    Args:
        config: the recipe.
        out: folder of the results: NAME.safetensors, NAME.md, NAME_loss.png, NAME_log.jsonl.
        device: "auto", "cpu", "cuda", ...
        progress: called every `config.log_every` steps.
        stop_after: leave a checkpoint and return at this step, for tests and for short leases of a device.

    Returns:
        step, loss, seconds and, when finished, the scores of `evaluate` and the paths of the files.

    Raises:
        UserError: `out` holds finished weights, or a checkpoint of another config.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    weights = out / f"{config.name}.safetensors"
    if weights.exists():
        raise UserError(f"{weights} exists: choose another folder, or delete it to pretrain again.")
    out.mkdir(parents=True, exist_ok=True)

    model = new_clip(config).to(place)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay), betas=config.betas, fused=place.type == "cuda"
    )
    checkpoint = out / "checkpoint.pt"
    state = _resume(checkpoint, config, model, optimizer, place)
    log_file = out / f"{config.name}_log.jsonl"
    write_atomic(log_file, "".join(json.dumps(line) + "\n" for line in state.log))

    bf16 = config.precision == "bf16" or (config.precision == "auto" and place.type == "cuda")
    autocast = torch.autocast(place.type, torch.bfloat16, enabled=bf16)
    forward = torch.compile(model) if config.compile else model
    stop = min(config.steps, stop_after or config.steps)
    total = torch.zeros((), device=place)
    counted, reported, saved = 0, time.perf_counter(), time.perf_counter()
    began, before = time.perf_counter(), state.seconds
    loss_value = state.log[-1]["loss"] if state.log else float("nan")

    model.train()
    while state.step < stop:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, state.step)
        generator = stream(place, config.seed, "train", state.step)
        stills = sample_stills(generator, config.batch_size, group=config.group, shared=config.shared)
        tokens = caption_tokens(stills, generator, keep=config.keep, single=config.single)
        pixels = normalised(draw_stills(stills, config.image.image_size, generator), config)
        with autocast:
            image, text, scale = forward(pixels, tokens)
        loss = clip_loss(image, text, scale)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=LOGIT_SCALE_LIMIT)
            total += loss.detach()
        state.step += 1
        counted += 1

        # the host waits for the device here and nowhere else
        if state.step % config.log_every == 0 or state.step == stop:
            loss_value = total.item() / counted
            if not math.isfinite(loss_value):
                raise UserError(f"The loss is {loss_value} at step {state.step}: try a lower lr.")
            now = time.perf_counter()
            state.seconds = before + now - began
            rate = counted * config.batch_size / (now - reported)
            left = (config.steps - state.step) * (now - reported) / counted
            line = {"step": state.step, "loss": loss_value, "lr": learning_rate(config, state.step - 1)}
            line.update(stills_per_second=rate, seconds=state.seconds)
            state.log.append(line)
            with log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            progress(Progress(state.step, config.steps, loss_value, rate, left))
            total.zero_()
            counted, reported = 0, now
            if now - saved > config.checkpoint_seconds or state.step == stop:
                _save(checkpoint, config, model, optimizer, state)
                saved = now

    summary: dict[str, Any] = {"step": state.step, "loss": loss_value, "seconds": state.seconds}
    if state.step < config.steps:
        return summary
    model.eval()
    scores = evaluate(model, config, lambda number: stream(place, config.seed, "held-out", number))
    files = write_outputs(config, out, model, place, state.log, state.seconds, scores)
    checkpoint.unlink(missing_ok=True)
    return {**summary, **scores, "files": [str(file) for file in files]}


def _save(
    path: Path,
    config: PretrainConfig,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: _State,
) -> None:
    content = {
        "config": config.model_dump(mode="json"),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "log": state.log,
    }
    write_atomic(path, checkpoint_bytes(content))


def _resume(
    path: Path,
    config: PretrainConfig,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> _State:
    if not path.exists():
        return _State()
    content = read_checkpoint(path, device)
    if PretrainConfig.model_validate(content["config"]) != config:
        raise UserError(f"{path} is of another config: choose another folder, or delete it to start anew.")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(content["step"], content["seconds"], content["log"])
