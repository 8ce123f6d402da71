"""The published numbers that stand beside measured ones: `configs/paper.yaml`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from petl_bench.config import read_yaml, validated
from petl_bench.records import Frozen

VALUES = (
    "top1",
    "top5",
    "verb_top1",
    "noun_top1",
    "gflops",
    "trainable_params",
    "trainable_share",
    "times_fewer",
)


class PaperNumber(Frozen):
    """What one source says of one (method, dataset, backbone). Fields that it does not say stay empty."""

    method: str
    backbone: str
    dataset: str | None = Field(None, description="None: the source names no data set")
    label: str | None = Field(
        None, description="row of a report that it belongs to; default: the method's name"
    )
    frames: int | None = Field(None, description="frames of a clip, where the source names them")
    views: int | None = Field(None, description="test views, where the source names them")
    top1: float | None = Field(None, description="percent")
    top5: float | None = Field(None, description="percent")
    verb_top1: float | None = Field(None, description="percent; Epic-Kitchens")
    noun_top1: float | None = Field(None, description="percent; Epic-Kitchens")
    gflops: float | None = Field(None, description="of all views, multiply-adds, in 1e9")
    trainable_params: float | None = Field(None, description="with the head")
    trainable_share: float | None = Field(None, description="of the backbone's parameters, percent")
    times_fewer: float | None = Field(None, description="trained parameters: previous work's / these")
    note: str | None = None
    source: str

    @property
    def identity(self) -> tuple[object, ...]:
        """What the numbers are of."""
        row = (self.method, self.label or self.method)
        return (*row, self.backbone, self.dataset, self.frames, self.views)

    def values(self) -> dict[str, float]:
        """The numbers that the source gives, by field."""
        return {f: v for f in VALUES if (v := getattr(self, f)) is not None}


def comparable(number: PaperNumber, field: str) -> bool:
    """Whether a difference to a row that the number belongs to is one of like with like.

    Parameters hang on the method and the backbone alone (and a little on the classes); for all else the source
    must name the data set and the frames. The views that it names are the row's already.
    """
    if field in ("trainable_params", "trainable_share"):
        return True
    return number.dataset is not None and number.frames is not None


class PaperNumbers(Frozen):
    """The file."""

    numbers: list[PaperNumber]


class Paper:
    """Published numbers, found by what a row is."""

    def __init__(self, numbers: list[PaperNumber]) -> None:
        self.numbers = tuple(numbers)
        self._by_row: dict[tuple[str, str, str], list[PaperNumber]] = {}
        for number in numbers:
            key = (number.method, number.label or number.method, number.backbone)
            self._by_row.setdefault(key, []).append(number)

    def of(
        self, method: str, label: str, dataset: str, backbone: str, frames: int | None, views: int | None
    ) -> list[PaperNumber]:
        """The numbers for a row, those that name most of its conditions first, then in the file's order.

        A number with a condition (data set, frames, views) that is not the row's is left out: 32 frames are
        not compared with 8. A variant (`label` other than the method's name) has only numbers that name it.
        """
        found = []
        for number in self._by_row.get((method, label, backbone), []):
            conditions = [(number.dataset, dataset), (number.frames, frames), (number.views, views)]
            if all(said is None or said == ours for said, ours in conditions):
                found.append((-sum(said is not None for said, _ in conditions), number))
        return [number for _, number in sorted(found, key=lambda pair: pair[0])]


def load_paper(path: Path | None = None) -> Paper:
    """The published numbers that the package ships, with those of a file of the user's own laid over them.

    A cell of that file takes the place of the shipped one of the same method, label, backbone, data set, frames
    and views; all others stay.

    Raises:
        UserError: the file cannot be read or a field is wrong.
    """
    shipped = _read(resources.files("petl_bench").joinpath("configs", "paper.yaml"), "configs/paper.yaml")
    return Paper(shipped if path is None else laid_over(shipped, _read(path, str(path))))


def laid_over(shipped: list[PaperNumber], own: list[PaperNumber]) -> list[PaperNumber]:
    """`own` after what is left of `shipped` where `own` says the same fields of the same thing."""
    said: dict[tuple[object, ...], set[str]] = {}
    for number in own:
        said.setdefault(number.identity, set()).update(number.values())
    left = [n.model_copy(update=dict.fromkeys(said.get(n.identity, ()))) for n in shipped]
    return [*(number for number in left if number.values()), *own]


def _read(file: Any, name: str) -> list[PaperNumber]:
    return validated(PaperNumbers, read_yaml(file), name).numbers
