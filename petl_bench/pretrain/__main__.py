"""`python -m petl_bench.pretrain --config tiny_clip --out FOLDER --set steps=500`, with plain output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from petl_bench.errors import UserError
from petl_bench.pretrain.run import main


def _command() -> int:
    parser = argparse.ArgumentParser(prog="python -m petl_bench.pretrain", description=__doc__)
    parser.add_argument("--config", help="a name under configs/pretrain, or a YAML file; default: tiny_clip")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--stop-after", type=int, help="leave a checkpoint at this step")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        main(options.config, options.out, options.changes, options.device, stop_after=options.stop_after)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(_command())
