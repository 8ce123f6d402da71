"""`python -m petl_bench.pretrain --config tiny_clip --out FOLDER --set steps=500`, with plain output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from petl_bench.config import parse_set
from petl_bench.errors import UserError
from petl_bench.pretrain import Progress, load_pretrain_config, pretrain


def _show(p: Progress) -> None:
    print(
        f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.stills_per_second:,.0f} stills/s  "
        f"{p.seconds_left:.0f} s left",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 after a UserError."""
    parser = argparse.ArgumentParser(prog="python -m petl_bench.pretrain", description=__doc__)
    parser.add_argument("--config", default="tiny_clip", help="a name under configs/pretrain, or a YAML file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--stop-after", type=int, help="leave a checkpoint at this step")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        changes = parse_set([f"pretrain.{change}" for change in options.changes]).get("pretrain", {})
        config = load_pretrain_config(options.config, changes)
        result = pretrain(
            config, options.out, device=options.device, progress=_show, stop_after=options.stop_after
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for key, value in result.items():
        print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
