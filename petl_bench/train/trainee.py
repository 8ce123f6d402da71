"""One method in training: its model, optimizer, schedule, times and folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT
from petl_bench.checkpoint import UnusableCheckpoint, checkpoint_bytes, read_checkpoint
from petl_bench.config import Recipe, RunConfig
from petl_bench.errors import UserError
from petl_bench.kernels import set_plain
from petl_bench.method import Method, build, make_method, seed_of
from petl_bench.results import RunFolder, write_atomic
from petl_bench.train.clock import Clock
from petl_bench.train.objective import Objective
from petl_bench.train.run_settings import differences, settings_of


class Diverged(ArithmeticError):
    """A loss that is no number."""


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then half a cosine to zero, by steps. `step` counts from 0.

    Deviation from the official ST-Adapter code (linziyi96/st-adapter at b914b38, main.py): the warm-up is one step
    ahead. There the first step has a rate of zero and moves nothing; here step `s` has what step `s + 1` has there, and
    the peak is reached one step sooner and kept for two. After the warm-up the two are equal.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def peak_rate(config: RunConfig) -> float:
    """The method's own learning rate or the recipe's, scaled by the batch where the recipe says so."""
    recipe = config.recipe
    rate = config.method.lr or recipe.lr
    return rate * recipe.batch_size / recipe.lr_batch if recipe.lr_batch else rate


def parameter_groups(method: Method, model: AdaptedViT, weight_decay: float) -> list[dict[str, Any]]:
    """The optimizer's groups, without empty ones.

    `lr_multiple` of a group is what its learning rate is multiplied by: 1 for pretrained weights, the method's
    `fresh_lr` for everything else. Where the method `decays` a parameter, its group has the weight decay.
    """
    pretrained = {id(p) for p in model.pretrained_parameters()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, p in model.named_parameters():
        multiple = 1.0 if id(p) in pretrained else method.fresh_lr
        decay = weight_decay if method.decays(model, name, p) else 0.0
        groups.setdefault((multiple, decay), []).append(p)
    return [
        {"params": params, "lr_multiple": multiple, "weight_decay": decay}
        for (multiple, decay), params in groups.items()
    ]


@dataclass
class Spent:
    """Seconds and memory that a run has cost so far, over all its sessions."""

    own: float = 0.0  # the method's own compute
    prefix: float = 0.0  # the frozen prefix that it used
    data: float = 0.0  # waiting for batches, and the next
    augment: float = 0.0  # taking them to the device, and augmenting them there
    decode: float = 0.0  # what the batches took those who made them
    steps_ms: list[float] = field(default_factory=list)  # the last ones, prefix included
    peak_memory_mb: float = 0.0
    lockstep: float = 0.0  # wall-clock of the loop
    sessions: int = 0


class Trainee:
    """A run in training. `step` counts finished optimizer steps."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        backbone: VideoViT,
        steps: int,
        warmup: int,
        identity: dict[str, str],
    ) -> None:
        recipe = config.recipe
        self.config = config
        self.folder = folder
        self.identity = identity  # of what a checkpoint's numbers hang on besides the config
        self.objective = Objective.of(config.dataset, recipe.label_smoothing)
        self.method = make_method(config.method.name, config.method.settings)
        self.model = build(
            self.method,
            backbone,
            config.dataset.outputs,
            frames=config.dataset.sampling.frames,
            seed=config.seed,
            head_dropout=recipe.head_dropout,
        ).train()
        self.model.checkpointing = float(recipe.checkpointing)
        set_plain(self.model, recipe.kernels == "plain")
        self.steps, self.warmup, self.peak = steps, warmup, peak_rate(config)
        device = next(self.model.parameters()).device
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.method, self.model, recipe.weight_decay),
            lr=self.peak,
            betas=recipe.betas,
            fused=True,
        )
        self.clock = Clock(device)
        self.step = 0
        self.spent = Spent()
        self.unreadable: set[str] = set()  # ids of the clips that could not be read in any epoch
        self.lost: set[str] = set()  # the same of this epoch
        self.validation_unreadable: set[str] = set()
        self.validated = 0  # step of the last validation
        self.validation_top1: float | None = None
        self.error: str | None = None
        self.window: list[list[float]] = []  # (loss, share right) of the steps since the last line of the log
        self._losses: list[Tensor] = []
        self._right: list[Tensor] = []
        self._lines: list[str] = []  # of the log; as text, less than half of what dictionaries take
        self.loss = math.nan
        self.train_top1 = math.nan

    @property
    def label(self) -> str:
        return self.config.method.label

    @property
    def seed(self) -> int:
        return self.config.seed

    def train_step(self, frozen: Frozen, labels: Tensor, precision: torch.dtype) -> None:
        """One optimizer step on a batch. The dropout masks depend on (seed, step) alone, not on the company."""
        recipe: Recipe = self.config.recipe
        with self.clock.lap():
            torch.manual_seed(seed_of("step", self.seed, self.step))
            rate = learning_rate(self.step, self.steps, self.warmup, self.peak)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["lr_multiple"]
            with torch.autocast(labels.device.type, dtype=precision, enabled=precision != torch.float32):
                logits = self.model.from_frozen(frozen)
            loss = self.objective.loss(logits.float(), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.grad_clip:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.grad_clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self._losses.append(loss.detach())
        self._right.append(self.objective.right(logits.detach(), labels).float().mean())
        self.step += 1

    def read(self, steps_per_epoch: int, prefix_ms: float, line: bool) -> None:
        """Take losses and times off the device; with `line`, log their mean since the last line.

        Lines stand at fixed steps, and what is not logged yet is in the checkpoint: an interruption leaves no
        trace in the log. Raises Diverged for a loss that is no number.
        """
        laps = self.clock.read()
        self.spent.own += sum(laps)
        self.spent.steps_ms = (self.spent.steps_ms + [1000 * s + prefix_ms for s in laps])[-500:]
        if self._losses:
            losses, right = torch.stack(self._losses).tolist(), torch.stack(self._right).tolist()
            self.window += [list(pair) for pair in zip(losses, right, strict=True)]
            self._losses.clear()
            self._right.clear()
        if not line or not self.window:
            return
        self.loss = sum(loss for loss, _ in self.window) / len(self.window)
        self.train_top1 = 100 * sum(right for _, right in self.window) / len(self.window)
        self.window.clear()
        rate = learning_rate(self.step - 1, self.steps, self.warmup, self.peak)
        values = {"loss": round(self.loss, 5), "lr": rate, "train_top1": round(self.train_top1, 2)}
        self.note("train", steps_per_epoch, values)
        if not math.isfinite(self.loss):
            raise Diverged(f"the loss is {self.loss} after step {self.step}: try a smaller learning rate")

    def note_validation(self, steps_per_epoch: int, top1: float, unreadable: set[str]) -> None:
        self.validation_top1, self.validated = top1, self.step
        self.validation_unreadable |= unreadable
        self.note("validation", steps_per_epoch, {"top1": round(top1, 3)})

    def note(self, kind: str, steps_per_epoch: int, values: dict[str, Any]) -> None:
        epoch = round(self.step / steps_per_epoch, 4)
        self._lines.append(json.dumps({"kind": kind, "step": self.step, "epoch": epoch, **values}) + "\n")

    # -- checkpoints ---------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, and the log up to it. Both are replaced whole."""
        content = {
            "settings": settings_of(self.config),
            "identity": self.identity,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "spent": vars(self.spent),
            "unreadable": sorted(self.unreadable),
            "lost": sorted(self.lost),
            "validation_unreadable": sorted(self.validation_unreadable),
            "validated": self.validated,
            "window": self.window,
            "validation_top1": self.validation_top1,
            "log": "".join(self._lines),
        }
        write_atomic(self.folder.checkpoint_file, checkpoint_bytes(content))
        self.write_log()

    def write_log(self) -> None:
        write_atomic(self.folder.log_file, "".join(self._lines))

    def load(self) -> bool:
        """Go on from the folder's checkpoint, if there is one.

        Raises:
            UnusableCheckpoint: it is damaged, or of other settings, data or weights; nothing of it was used.
            UserError: it does not fit this version of the method.
        """
        file = self.folder.checkpoint_file
        if not file.exists():
            return False
        state = read_checkpoint(file, next(self.model.parameters()).device)
        if changed := differences(state["settings"], self.config):
            raise UnusableCheckpoint(file, f"it is of a run with other settings ({', '.join(changed[:4])})")
        before = state["identity"]
        if changed := [k for k in {**before, **self.identity} if before.get(k) != self.identity.get(k)]:
            raise UnusableCheckpoint(file, f"the {' and the '.join(changed)} changed since")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"{file} does not fit the method as it is now: {error}. Delete it to start the run again."
            ) from None
        self.step = state["step"]
        self.spent = Spent(**state["spent"])
        self.unreadable, self.lost = set(state["unreadable"]), set(state["lost"])
        self.validation_unreadable = set(state["validation_unreadable"])
        self.validated = state["validated"]
        self.window = state["window"]
        self.validation_top1 = state["validation_top1"]
        self._lines = state["log"].splitlines(keepends=True)
        return True
