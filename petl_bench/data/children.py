"""Work on videos in this process and in its children: on one thread each.

Children are deaf to Ctrl-C, which the terminal sends to all, and die with their parent.

A child that reads from a queue does not notice the death of its parent: it holds the other end of the pipe
itself. Without care a killed run leaves its workers behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process, resource_tracker
from types import TracebackType

import torch


@contextmanager
def children_deaf_to_interrupts() -> Iterator[None]:
    """Processes started in the `with` block never hear Ctrl-C, not even while they import their modules; this
    process hears it after the block. It has to end them then."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it starts with the first child and would clear the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors on one thread, as in a child. Frames are so small that more threads only wait for each other:
    on a busy machine they took five times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def become_child() -> None:
    """To be called first in a child: one thread for tensors, no ear for Ctrl-C, an end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where a server started it, the mask was another's
    sys.excepthook = _unless_hung_up
    torch.set_num_threads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _unless_hung_up(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What Python prints of an exception that nobody caught, but for a connection that the other end gave up: the
    thread that hands tensors over sees that when its parent is interrupted as it fetches one."""
    if not isinstance(error, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, traceback)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
