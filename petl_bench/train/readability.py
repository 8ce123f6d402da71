"""Clips that a pass could not read: told at its end, and too many of them end the run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from petl_bench.errors import UserError

MAX_UNREADABLE = 0.1
NAMED = 3  # ids that a message gives


class TooManyUnreadable(UserError):
    """A pass that would go without so many clips that its numbers are of another data set."""


@dataclass(frozen=True)
class Readability:
    """How many clips a pass over a split (an epoch, a validation, a test) may go without.

    Attributes:
        share: of the clips of a pass, 0..1; a pass without any clip fails whatever it is.
        say: what tells the user.
    """

    share: float = MAX_UNREADABLE
    say: Callable[[str], None] = lambda text: None

    def check(self, task: str, lost: Collection[str], clips: int) -> None:
        """Raises TooManyUnreadable where more is lost than allowed. May be called in the midst of a pass."""
        if not lost or (len(lost) <= self.share * clips and len(lost) < clips):
            return
        limit = "" if len(lost) >= clips else f" (--max-unreadable allows a share of {self.share:g})"
        raise TooManyUnreadable(
            f"{task}: {len(lost)} of {clips} clips cannot be read{limit}: {_some(lost)}. `petl-bench datasets check` "
            "says why, and makes the list of the clips to leave out. The last checkpoint is kept."
        )

    def end(self, task: str, lost: Collection[str], clips: int) -> None:
        """The end of a pass: say what it went without. Raises TooManyUnreadable."""
        self.check(task, lost, clips)
        if lost:
            self.say(f"{task}: {len(lost)} of {clips} clips cannot be read and were left out: {_some(lost)}")


def _some(lost: Collection[str]) -> str:
    names = sorted(lost)
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
