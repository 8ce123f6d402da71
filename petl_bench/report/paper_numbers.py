"""The published numbers that stand beside measured ones: `configs/paper.yaml`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pydantic import Field

from petl_bench.config import read_yaml, validated
from petl_bench.records import Frozen


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
    note: str | None = None
    source: str

    def values(self) -> dict[str, float]:
        """The numbers that the source gives, by field."""
        fields = ("top1", "top5", "verb_top1", "noun_top1", "gflops", "trainable_params", "trainable_share")
        return {f: v for f in fields if (v := getattr(self, f)) is not None}


class PaperNumbers(Frozen):
    """The file."""

    numbers: list[PaperNumber]


class Paper:
    """Published numbers, found by what a row is."""

    def __init__(self, numbers: list[PaperNumber]) -> None:
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
    """The published numbers of a file, or of the one that the package ships.

    Raises:
        UserError: the file cannot be read or a field is wrong.
    """
    file = path or resources.files("petl_bench").joinpath("configs", "paper.yaml")
    return Paper(
        validated(PaperNumbers, read_yaml(file), path.name if path else "configs/paper.yaml").numbers
    )
