"""Work on items in processes that may crash or hang: each answer has a time limit, dead processes are replaced."""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, Literal, TypeVar

from petl_bench.data.children import become_child, children_context, children_deaf_to_interrupts
from petl_bench.data.decode import silence_decoders
from petl_bench.errors import UserError
from petl_bench.machine import PAUSES, MachineError, errors_of_machine

Item = TypeVar("Item")
Value = TypeVar("Value")

ATTEMPTS = 2  # a busy machine is slow and kills processes too: an item is tried again before it is given up
START_SECONDS = 300.0  # for a process to import what it needs
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of an item: its value, or how its process ended both times."""

    state: Literal["done", "crashed", "timeout"]
    value: Value | None = None
    reason: str = ""


class _Worker(Generic[Item, Value]):
    """A process that answers one item at a time."""

    def __init__(self, function: Callable[[Item], Value]) -> None:
        context = children_context(__name__)
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, function), daemon=True)
        with children_deaf_to_interrupts():
            self.process.start()
        child.close()
        self.position: int | None = None
        self.ready = False
        self.deadline = time.monotonic() + START_SECONDS

    def ask(self, position: int, item: Item, timeout: float) -> None:
        self.position, self.deadline = position, time.monotonic() + timeout
        with suppress(OSError):  # it is dead: its end will be heard
            self.pipe.send(item)

    def end(self) -> None:
        self.process.kill()
        self.pipe.close()
        self.process.join(
            POLL_SECONDS
        )  # one that waits for a dead file server may stay; it is not waited for

    @property
    def death(self) -> str:
        self.process.join(POLL_SECONDS)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"the decoder was killed by {signal.Signals(-code).name}"
        return f"the decoding process ended with exit code {code}"


def run_isolated(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    jobs: int,
    timeout: float,
    name: Callable[[Item], str] = str,
) -> Generator[tuple[int, Outcome[Value]], None, None]:
    """Apply `function` to items in processes of their own.

    Args:
        function: picklable, with picklable values; an exception in it counts as a crash.
        items: picklable.
        jobs: processes at once.
        timeout: seconds for one item; its process is killed then.
        name: of an item, for messages.

    Yields:
        (position, outcome) as they come.

    Raises:
        UserError: processes cannot even start.
        MachineError: an item met an error of the machine that did not pass.
    """
    waiting = deque((position, 1) for position in range(len(items)))
    attempts: dict[int, int] = {}
    faults: Counter[int] = Counter()  # of the machine
    workers: list[_Worker[Item, Value]] = []
    stillborn = 0
    try:
        while waiting or any(worker.position is not None for worker in workers):
            while len(workers) < min(jobs, len(waiting) + _busy(workers)):
                with errors_of_machine("processes that decode videos"):
                    workers.append(_Worker(function))
            for worker in workers:
                if worker.ready and worker.position is None and waiting:
                    position, attempts[position] = waiting.popleft()
                    worker.ask(position, items[position], timeout)
            connection.wait([worker.pipe for worker in workers], _patience(workers))
            for worker in list(workers):
                message, ended = _hear(worker)
                if message is _NOTHING and ended is None:
                    continue
                position_done, worker.position = worker.position, None
                if ended is not None:
                    worker.end()
                    workers.remove(worker)
                if position_done is None:  # it has started, or failed to
                    worker.ready = ended is None
                    stillborn = 0 if ended is None else stillborn + 1
                    if stillborn > 2 * jobs:
                        raise UserError(
                            f"Processes that decode videos cannot start: {ended and ended.reason}."
                        )
                elif isinstance(message, MachineError):
                    if faults[position_done] == len(PAUSES):
                        again = f", also when tried again {len(PAUSES)} times"
                        raise MachineError(_named(message, name(items[position_done])) + again, message.errno)
                    time.sleep(PAUSES[faults[position_done]])
                    faults[position_done] += 1
                    waiting.appendleft((position_done, attempts[position_done]))
                elif ended is None:
                    yield position_done, Outcome("done", message)
                elif attempts[position_done] < ATTEMPTS:
                    waiting.append((position_done, attempts[position_done] + 1))
                else:
                    yield position_done, ended
    finally:
        for worker in workers:
            worker.end()


_NOTHING = object()


def _busy(workers: Sequence[_Worker[Any, Any]]) -> int:
    return sum(worker.position is not None for worker in workers)


def _patience(workers: Sequence[_Worker[Any, Any]]) -> float:
    """Seconds until the first time limit."""
    limits = [w.deadline for w in workers if w.position is not None or not w.ready]
    return min(max(min(limits, default=0.0) - time.monotonic(), 0.0), POLL_SECONDS)


def _hear(worker: _Worker[Any, Any]) -> tuple[Any, Outcome[Any] | None]:
    """What a process has said, and how it ended if it did."""
    try:
        if worker.pipe.poll():
            return worker.pipe.recv(), None
    except (EOFError, OSError):
        death = worker.death
        if worker.process.exitcode == -signal.SIGKILL:  # no decoder does that, but a system without memory
            return MachineError(f"{death} (out of memory?)"), Outcome("crashed", reason=death)
        return _NOTHING, Outcome("crashed", reason=death)
    if (worker.position is not None or not worker.ready) and time.monotonic() > worker.deadline:
        return _NOTHING, Outcome("timeout", reason="no answer within the time limit")
    return _NOTHING, None


def _serve(pipe: Any, function: Callable[[Any], Any]) -> None:
    become_child()
    silence_decoders()
    with suppress(EOFError, BrokenPipeError):  # nobody asks any more
        pipe.send(None)  # ready
        while True:
            pipe.send(_answer(function, pipe.recv()))


def _answer(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        with errors_of_machine(""):
            return function(item)
    except MachineError as error:
        return error


def _named(error: MachineError, name: str) -> str:
    text = str(error).removeprefix(": ")
    return text if name in text else f"{name}: {text}"
