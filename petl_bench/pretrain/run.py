"""Pretraining as a command: plain progress lines, for a terminal or a log file."""

from __future__ import annotations

from pathlib import Path

from petl_bench.config import parse_set
from petl_bench.pretrain.config import load_pretrain_config
from petl_bench.pretrain.train import Progress, pretrain


def show(p: Progress) -> None:
    """Print one line of progress."""
    print(
        f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.stills_per_second:,.0f} stills/s  "
        f"{p.seconds_left:.0f} s left",
        flush=True,
    )


def main(
    config: Path | str | None,
    out: Path,
    changes: list[str],
    device: str = "auto",
    *,
    stop_after: int | None = None,
) -> None:
    """Pretrain and print what came out.

    Args:
        config: a name under configs/pretrain or a YAML file; None for the tiny CLIP.
        out: folder of the results; a checkpoint in it is gone on with.
        changes: FIELD=VALUE, laid over the config.
        device: "auto", "cpu", "cuda", ...
        stop_after: leave a checkpoint at this step.

    Raises:
        UserError: as `load_pretrain_config` and `pretrain`.
    """
    nested = parse_set([f"pretrain.{change}" for change in changes]).get("pretrain", {})
    recipe = load_pretrain_config(str(config or "tiny_clip"), nested)
    result = pretrain(recipe, out, device=device, progress=show, stop_after=stop_after)
    for key, value in result.items():
        print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
