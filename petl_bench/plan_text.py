"""How long training is, in a line."""

from __future__ import annotations

from collections.abc import Sequence


def plan_text(clips: int, steps_per_epoch: int, steps: int, peaks: Sequence[float], held_out: int = 0) -> str:
    """`39 clips, 5 steps an epoch, 250 steps, peak rate 5e-3`.

    Args:
        clips: that are trained on.
        steps_per_epoch: of the optimizer.
        steps: in all.
        peaks: learning rates after warm-up; of several the lowest and the highest are told.
        held_out: clips of the validation part.
    """
    low, high = rate_text(min(peaks)), rate_text(max(peaks))
    rate = f"peak rate {low}" if low == high else f"peak rates {low} to {high}"
    parts = [
        counted(clips, "clip"),
        f"{counted(steps_per_epoch, 'step')} an epoch",
        counted(steps, "step"),
        rate,
    ]
    return ", ".join(
        [*parts, *([f"{counted(held_out, 'clip')} held out for validation"] if held_out else [])]
    )


def rate_text(rate: float) -> str:
    """`5e-3`, `1.25e-4`, at most three digits."""
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def counted(number: int, what: str) -> str:
    """`1 clip`, `1,250 clips`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
