"""Work on videos in this process and in its children: on one thread each.

Children are deaf to Ctrl-C, which the terminal sends to all, and to a SIGTERM that is not their parent's, as `timeout`
and batch systems send it to all: the parent stops at the end of a step, and needs them until then. They die with it.

A child that reads from a queue does not notice the death of its parent: it holds the other end of the pipe
itself. Without care a killed run leaves its workers behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process, resource_tracker
from types import TracebackType
from typing import Any

import torch


def children_context(module: str) -> Any:
    """How children start. Not forked: this process has threads. A server imports `module` once, for all of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@contextmanager
def children_deaf_to_interrupts() -> Iterator[None]:
    """Processes started in the `with` block never hear Ctrl-C, not even while they import their modules; this
    process hears it after the block. It has to end them then. The same of SIGTERM, but see `become_child`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it starts with the first child and would clear the mask
    blocked = {signal.SIGINT} | ({signal.SIGTERM} if hasattr(signal, "sigwaitinfo") else set())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
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
    """To be called first in a child: one thread for tensors, deaf to Ctrl-C, an end with its parent and at its wish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where a server started it, the mask was another's
    sys.excepthook = _unless_hung_up
    torch.set_num_threads(1)
    parent = parent_process()
    if parent is None:
        return
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    if hasattr(signal, "sigwaitinfo") and parent.pid is not None:  # not on macOS
        # blocked in the threads that start from now on, too
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_at_wish_of, args=(parent.pid,), daemon=True).start()


def _unless_hung_up(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What Python prints of an exception that nobody caught, but for a connection that the other end gave up: the
    thread that hands tensors over sees that when its parent is interrupted as it fetches one."""
    if not isinstance(error, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, traceback)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _end_at_wish_of(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(128 + signal.SIGTERM)
