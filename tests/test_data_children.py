"""The processes that read videos, where their parent leaves them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from video_files import numbered_frames, write_file

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


EARLY = """
import sys
from multiprocessing import active_children, forkserver
from pathlib import Path
from petl_bench.data import Clip, Loader, Manifest, expect_workers
from petl_bench.dataset_config import DatasetConfig, ListSource
if __name__ == "__main__":
    expect_workers()
    server = forkserver._forkserver._forkserver_pid
    config = DatasetConfig(name="x", summary="", classes=2, source=ListSource(kind="list"))
    manifest = Manifest("train", (Clip(Path(sys.argv[1]), 0, "0"),))
    loader = Loader(manifest, config, size=32, batch_size=1, seed=0, train=True, workers=1)
    next(loader.epoch(0))
    (worker,) = active_children()
    parent = int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1])
    print(server == parent)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_come_from_the_server_that_was_started_early(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text(EARLY)
    write_file(tmp_path / "0.mp4", numbered_frames(9))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "early.py"), str(tmp_path / "0.mp4")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)
