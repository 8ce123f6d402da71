"""How long threads spin before they sleep: what OpenMP itself says that it was told."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest


def spins(**environment: str) -> str | None:
    """Rounds of spinning in a new process, or None where torch's threads are not GNU OpenMP's."""
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    env = {k: v for k, v in os.environ.items() if k not in ours}
    command = [sys.executable, "-c", "import petl_bench, torch"]
    out = subprocess.run(
        command, env={**env, "OMP_DISPLAY_ENV": "verbose", **environment}, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    found = re.search(r"GOMP_SPINCOUNT = '(\d+)'", out.stderr)
    return found[1] if found else None


def test_threads_sleep_soon_but_the_user_has_the_last_word() -> None:
    if (mine := spins()) is None:
        pytest.skip("torch does not use GNU OpenMP here")
    assert mine == "1000"
    assert spins(GOMP_SPINCOUNT="77") == "77"
    assert spins(OMP_WAIT_POLICY="active") != "1000"
