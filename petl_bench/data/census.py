"""What is amiss in the lists of a data set: classes without clips, clips in both splits, files that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from petl_bench.data.copies import find_copies
from petl_bench.data.listed import LeftOut, Listed
from petl_bench.data.manifest import Clip

SHOWN = 5  # names in a line of a report
SHOWN_IN_NOTICE = 3
NEVER_LEARNT = "with test clips but no training clip, so never learnt"
NEVER_TESTED = "with training clips but no test clip"
EMPTY = "with neither training nor test clips"


@dataclass(frozen=True)
class Census:
    """What is amiss; nothing in it where all is well.

    classes: of each head ("" where there is one), how many it has.
    lacking: (head, what they lack) -> names of classes.
    in_both: names of clips that are in the training and in the test split.
    repeated: of clips that a split lists more than once.
    contradicted: of clips with two labels.
    copies: training and test clips with other names and the same content, where it was looked for.
    left_out: files, folders and rows that are no part of the data set.
    """

    classes: Mapping[str, int]
    lacking: Mapping[tuple[str, str], tuple[str, ...]]
    in_both: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def lines(self) -> list[str]:
        """All of it, for `datasets add` and `datasets check`."""
        lines = [
            f"{_share(len(names), self.classes[head], head)} {what}: {_some(names, SHOWN)}"
            for (head, what), names in self.lacking.items()
        ]
        for names, what in (
            (self.in_both, "in the training and in the test split"),
            (self.repeated, "more than once in one split"),
            (self.contradicted, "with two labels"),
            (self.copies, "of the test split with the content of a training clip"),
        ):
            if names:
                lines.append(f"{_counted(len(names), 'clip')} {what}: {_some(names, SHOWN)}")
        for left in self.left_out:
            example = f", such as {left.example}" if left.example else ""
            lines.append(f"{_counted(left.count, left.kind)} left out: {left.reason}{example}")
        return lines

    def notice(self) -> str:
        """The same in one line, for `run`; "" where nothing is amiss."""
        parts = [
            f"{_share(len(names), self.classes[head], head)} {what} ({_some(names, SHOWN_IN_NOTICE)})"
            for (head, what), names in self.lacking.items()
        ]
        if self.in_both:
            count = _counted(len(self.in_both), "clip")
            parts.append(f"{count} in both splits ({_some(self.in_both, SHOWN_IN_NOTICE)})")
        if self.contradicted:
            parts.append(f"{_counted(len(self.contradicted), 'clip')} with two labels")
        kinds: Counter[str] = Counter()
        for left in self.left_out:
            kinds[left.kind] += left.count
        parts += [f"{_counted(count, kind)} left out" for kind, count in kinds.items()]
        return "; ".join(parts)


def take_census(
    listed: Listed,
    train: Sequence[Clip],
    test: Sequence[Clip],
    heads: Mapping[str, int],
    contents: bool = False,
) -> Census:
    """Look for what is amiss.

    Args:
        listed: the data set.
        train: the clips that are trained on.
        test: those that are tested.
        heads: the classes of each head where a label is several at once, as in the config.
        contents: look into files for copies.
    """
    trained, tested = (_classes({clip.label for clip in clips}, heads) for clips in (train, test))
    lacking: dict[tuple[str, str], tuple[str, ...]] = {}
    for head, names in (listed.head_names or {"": listed.class_names}).items():
        a, b = trained[head], tested[head]
        for what, numbers in (
            (NEVER_LEARNT, b - a),
            (NEVER_TESTED, a - b),
            (EMPTY, set(range(len(names))) - a - b),
        ):
            if numbers:
                lacking[head, what] = tuple(names[number] for number in sorted(numbers))
    splits = (listed.train.all, listed.test.all)
    first, second = ({(clip.name, clip.start, clip.stop) for clip in clips} for clips in splits)
    counts = [Counter((clip.name, clip.start, clip.stop) for clip in clips) for clips in splits]
    labels: dict[tuple[str, float | None, float | None], set[int]] = {}
    for clip in (*splits[0], *splits[1]):
        labels.setdefault((clip.name, clip.start, clip.stop), set()).add(clip.label)
    return Census(
        {head: len(names) for head, names in (listed.head_names or {"": listed.class_names}).items()},
        lacking,
        _names(first & second),
        _names({key for count in counts for key, times in count.items() if times > 1}),
        _names({key for key, found in labels.items() if len(found) > 1}),
        tuple(f"{one.name} = {other.name}" for one, other in find_copies(train, test)) if contents else (),
        listed.left_out,
    )


def _classes(labels: set[int], heads: Mapping[str, int]) -> dict[str, set[int]]:
    """The classes of each head among labels, which are numbers in mixed radix in the order of the heads."""
    if not heads:
        return {"": labels}
    found: dict[str, set[int]] = {}
    for head, classes in reversed(list(heads.items())):
        found[head] = {label % classes for label in labels}
        labels = {label // classes for label in labels}
    return found


def _names(keys: set[tuple[str, float | None, float | None]]) -> tuple[str, ...]:
    return tuple(sorted({name for name, _, _ in keys}))


def _share(count: int, of: int, head: str) -> str:
    return f"{count:,} of {of:,} {head + ' ' if head else ''}classes"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(names: Sequence[str], shown: int) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")
