"""A lock on a folder between processes, which the death of its holder releases."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: work may be done twice, files are whole all the same
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.2
UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # some network file systems


@contextmanager
def locked(file: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `file`. The kernel owns the lock, so one left by a killed process never blocks.

    Args:
        file: created if absent, never removed.
        waiting: called every `POLL_SECONDS` while another process holds the lock.
    """
    with file.open("a") as handle:
        while fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(POLL_SECONDS)
            except OSError as error:
                if error.errno in UNSUPPORTED:
                    break
                raise
        yield
