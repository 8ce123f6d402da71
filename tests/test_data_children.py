"""The processes that read videos, where their parent leaves them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import sys
from multiprocessing import resource_sharer
from petl_bench.data.children import become_child
become_child()
address, _ = resource_sharer._resource_sharer.register(print, print)  # its thread serves tensors to the parent
print(address, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the address is a Unix socket")
def test_a_parent_that_hangs_up_leaves_no_traceback() -> None:
    """Ctrl-C in the moment when a batch is fetched."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    address = child.stdout.readline().strip()
    assert Path(address).exists()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(address)
    _, error = child.communicate(timeout=60)
    assert error == ""
