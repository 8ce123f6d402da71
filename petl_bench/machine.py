"""Errors of the machine: a disk, a file server, memory or a limit that fails, whatever was asked for.

They say nothing about a clip or a method, so nothing may be left out for them. They are tried again a few times; then
the command ends, with what it has done kept.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from petl_bench.errors import UserError

T = TypeVar("T")

PAUSES = (0.2, 1.0, 3.0)  # seconds before each further try
NAMES = (
    *("EIO", "ENXIO", "ENODEV", "ENOSPC", "EDQUOT", "EROFS", "EUCLEAN", "ENOMEDIUM", "EREMOTEIO"),  # disks
    *(
        "ESTALE",
        "ETIMEDOUT",
        "ENOTCONN",
        "ECONNRESET",
        "ECONNREFUSED",
        "ECONNABORTED",
        "EHOSTDOWN",
    ),  # file servers
    *(
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENETRESET",
        "ESHUTDOWN",
        "ENOLINK",
        "ECOMM",
        "EPROTO",
        "ENOLCK",
    ),
    *("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EBUSY", "EINTR", "ENOBUFS"),  # limits and memory
    *("EACCES", "EPERM", "EKEYEXPIRED"),  # rights
)
NUMBERS = frozenset(getattr(errno, name) for name in NAMES if hasattr(errno, name))


class MachineError(UserError):
    """An error of the machine that did not pass. `errno` is the system's number; ENOMEM for a MemoryError."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message, number)  # both, so that it can be pickled
        self.message, self.errno = message, number

    def __str__(self) -> str:
        return self.message


def is_of_machine(error: BaseException) -> bool:
    """Whether an error is one of the machine."""
    if isinstance(error, MachineError | MemoryError):
        return True
    return isinstance(error, OSError) and error.errno in NUMBERS


def as_machine_error(error: BaseException, what: object) -> MachineError:
    """An error of the machine with what it happened to, such as a file."""
    if isinstance(error, MachineError):
        return error
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if number is None:
        return MachineError(f"{what}: {error}")
    return MachineError(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})", number)


def raise_if_of_machine(error: OSError) -> None:
    """Raises MachineError for an error of the machine; what `os.walk` is given, which passes over all of them."""
    if is_of_machine(error):
        raise as_machine_error(error, error.filename) from error


@contextmanager
def errors_of_machine(what: object) -> Iterator[None]:
    """Errors of the machine inside the `with` block become MachineError; `what` says what they happened to."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if not is_of_machine(error):
            raise
        raise as_machine_error(error, what) from error


def tried_again(action: Callable[[], T]) -> T:
    """What `action` returns, tried again where the machine fails. Raises MachineError when that does not help."""
    for pause in PAUSES:
        try:
            return action()
        except MachineError:
            time.sleep(pause)
    try:
        return action()
    except MachineError as error:
        again = f"{error}, also when tried again {len(PAUSES)} times"
        raise MachineError(again, error.errno) from error
