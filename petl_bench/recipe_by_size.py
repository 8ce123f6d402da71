"""A recipe that fits the number of training clips, for own data. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

LARGEST_BATCH = 64
EPOCHS = 50  # of the official ST-Adapter code for Something-Something-v2, as the next two
RATE, RATE_BATCH = 1.0e-3, 256
WARMUP = 25  # one epoch of so many: 2 of 50
STEPS_PER_EPOCH = 5
LEAST_STEPS = EPOCHS * STEPS_PER_EPOCH
HIGHEST_RATE = 5.0e-3
REACH = HIGHEST_RATE * LEAST_STEPS  # peak rate x steps


@dataclass(frozen=True)
class SizedRecipe:
    """What of a recipe depends on the number of clips. `peak` is the rate that training reaches, per step."""

    clips: int
    batch_size: int
    epochs: int
    warmup_epochs: int
    peak: float

    @property
    def steps_per_epoch(self) -> int:
        return self.clips // self.batch_size  # an incomplete last batch is dropped

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def fields(self) -> dict[str, Any]:
        """As a config has them: the rate of the official code where it is reached, per 256 clips of batch."""
        official = RATE * self.batch_size / RATE_BATCH
        rate = {"lr": RATE, "lr_batch": RATE_BATCH} if self.peak <= official else {"lr": self.peak}
        return {
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            **rate,
            "warmup_epochs": self.warmup_epochs,
        }


def recipe_by_size(clips: int) -> SizedRecipe:
    """Batch, epochs, warm-up and peak learning rate for a number of training clips (validation clips not counted).

    - The batch is a fifth of the clips, at least 1 and at most 64: five steps an epoch or more, so that 50 epochs
      have 250 steps however few clips there are. Fewer than five clips take more epochs to get there. Warm-up is
      one epoch in 25.
    - AdamW moves a weight by at most about the learning rate in a step, so what training can reach goes with
      rate x steps. The peak rate keeps peak x steps at 1.25, between two bounds: 5e-3, which 250 steps need, and
      the rate of the official ST-Adapter code for a batch of 64, 2.5e-4, which holds from 5,000 steps (6,400
      clips) on.

    More clips never mean a smaller batch, more epochs or a higher rate, and every size has 250 steps or more.

    Raises:
        ValueError: no clips.
    """
    if clips < 1:
        raise ValueError(f"{clips} training clips: there must be one or more")
    batch = min(max(clips // STEPS_PER_EPOCH, 1), LARGEST_BATCH)
    epochs = max(EPOCHS, math.ceil(LEAST_STEPS / (clips // batch)))
    # of the fewest steps that a set of this size or a smaller one may have: 9 clips have more than 10
    steps = EPOCHS * max(STEPS_PER_EPOCH, clips // LARGEST_BATCH)
    lowest = RATE * LARGEST_BATCH / RATE_BATCH
    peak = min(max(REACH / steps, lowest), HIGHEST_RATE)
    return SizedRecipe(clips, batch, epochs, epochs // WARMUP, float(f"{peak:.2g}"))
