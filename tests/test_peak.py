"""The peak that tests/speed/peak.py works out on fake tensors is what a real step takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SPEED = Path(__file__).parent / "speed"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is Linux's")
@pytest.mark.parametrize("case", [0, 2])  # the plain loop; half of the blocks computed again
def test_worked_out_is_what_is_measured(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SPEED))
    from peak import peak_of_step
    from peak_measured import CASES
    from step import CLASSES, Ours, Plain

    from petl_bench.backbone import load_backbone
    from petl_bench.suite import load_backbone_config

    label, name, share = CASES[case]
    command = [sys.executable, SPEED / "peak_measured.py", "--case", str(case), "--batch", "32"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kind = Plain if name == "plain" else Ours
    config = load_backbone_config("tiny_clip")
    size = load_backbone(config).image_size
    given = (label, config, CLASSES, (32, 8, 3, size, size), torch.float32, kind)
    worked_out = peak_of_step(*given, checkpointing=share)
    assert worked_out == pytest.approx(float(done.stdout), rel=0.06)
