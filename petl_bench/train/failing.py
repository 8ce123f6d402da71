"""Errors of one method leave the others alone."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from petl_bench.machine import MachineError, as_machine_error, is_of_machine
from petl_bench.results import write_atomic
from petl_bench.train.trainee import Trainee

if TYPE_CHECKING:
    from petl_bench.train.lockstep import Lockstep


class FailingAlone:
    """An error of one method takes that method out of the lockstep, and only it.

    An error of the machine is no method's: it ends the lockstep. The method that met it may be in the midst of a step,
    so its last checkpoint stays as it is.
    """

    def __init__(self, lockstep: Lockstep, trainee: Trainee) -> None:
        self.lockstep, self.trainee = lockstep, trainee

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        t = self.trainee
        if is_of_machine(error):
            if t in self.lockstep.trainees:
                self.lockstep.trainees.remove(t)
            if isinstance(error, MachineError):
                return False
            raise as_machine_error(error, t.label) from error
        t.error = f"{type(error).__name__}: {error}"
        write_atomic(t.folder.error_file, "".join(traceback.format_exception(error)))
        if t in self.lockstep.trainees:
            self.lockstep.trainees.remove(t)
        self.lockstep.display.rows({t.label: self.lockstep._row(t, f"failed: {t.error}")})
        self.lockstep.display.say(f"{t.label} failed, the others go on: {t.error}")
        return True
