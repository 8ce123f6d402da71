"""Files of checkpoints: a line that names the format, the SHA-256 of the rest, and what `torch.save` writes.

`torch.load` reads a file with a flipped bit as other weights. Nothing of a checkpoint is used before its checksum is
verified.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from petl_bench.errors import UserError
from petl_bench.machine import errors_of_machine

MAGIC = b"petl-bench checkpoint 1\n"
HEADER = len(MAGIC) + 64 + 1  # the checksum in hexadecimal, and the end of its line


class UnusableCheckpoint(UserError):
    """A checkpoint that is damaged or of another run. Nothing of it was used."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be used: {why}. Delete it to start the run again.")
        self.file, self.why = file, why


def checkpoint_bytes(content: dict[str, Any]) -> bytes:
    """The file of a checkpoint."""
    buffer = io.BytesIO()
    buffer.write(bytes(HEADER))
    torch.save(content, buffer)
    with buffer.getbuffer() as view:
        view[:HEADER] = MAGIC + hashlib.sha256(view[HEADER:]).hexdigest().encode() + b"\n"
    return buffer.getvalue()


def read_checkpoint(file: Path, device: torch.device) -> dict[str, Any]:
    """What a checkpoint holds, on a device.

    Raises:
        UnusableCheckpoint: its checksum is wrong, or it has none.
        MachineError: the file cannot be read.
    """
    with errors_of_machine(file):
        data = file.read_bytes()
    if not data.startswith(MAGIC):
        raise UnusableCheckpoint(
            file, "it has no checksum: it is damaged, or was written by an older version of petl-bench"
        )
    if data[:HEADER] != MAGIC + hashlib.sha256(memoryview(data)[HEADER:]).hexdigest().encode() + b"\n":
        raise UnusableCheckpoint(file, "it is damaged: its checksum is wrong")
    buffer = io.BytesIO(data)
    buffer.seek(HEADER)
    content: dict[str, Any] = torch.load(buffer, map_location=device, weights_only=True)
    return content
