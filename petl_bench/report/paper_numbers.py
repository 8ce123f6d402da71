"""The published numbers that stand beside measured ones: `configs/paper.yaml`.

A number belongs to a structure, not to a name: it stands beside the rows whose method has the settings that the number
names, and no other settings than these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from petl_bench.config import merge, read_yaml, validated
from petl_bench.errors import unknown_name
from petl_bench.records import Frozen

UNKNOWN = "unknown"
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
    settings: dict[str, Any] | str = Field(
        default_factory=dict,
        description="of the method, those that make it what was measured, or the name of a structure; what is not "
        "named is the method's default. unknown: the source does not say; the number stands beside no row",
    )
    label: str | None = Field(None, description="the one row that it belongs to, where settings do not tell")
    name: str | None = Field(None, description="in tables; default: the structure's or the method's")
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
        settings = repr(sorted(self.settings.items()) if isinstance(self.settings, dict) else self.settings)
        row = (self.method, settings, self.label)
        return (*row, self.backbone, self.dataset, self.frames, self.views)

    def values(self) -> dict[str, float]:
        """The numbers that the source gives, by field."""
        return {f: v for f in VALUES if (v := getattr(self, f)) is not None}


@dataclass(frozen=True)
class Measured:
    """What a row was measured of and under.

    Attributes:
        settings: of the method, defaults filled in.
        given: those of them that the run's config gave.
        image_size: pixels, where the run gave the backbone another than its own.
        as_released: whether the backbone has the pretrained weights that its name says.
        fraction: share of the training clips.
    """

    method: str
    label: str
    backbone: str
    dataset: str
    frames: int | None
    views: int | None
    settings: Mapping[str, Any]
    given: frozenset[str] = frozenset()
    image_size: int | None = None
    as_released: bool = True
    fraction: float = 1.0


def comparable(number: PaperNumber, field: str) -> bool:
    """Whether a difference to a row that the number belongs to is one of like with like.

    Parameters hang on the method, its settings and the backbone alone (and a little on the classes); for all else
    the source must name the data set and the frames. The views that it names are the row's already.
    """
    if field in ("trainable_params", "trainable_share"):
        return True
    return number.dataset is not None and number.frames is not None


class PaperNumbers(Frozen):
    """The file."""

    numbers: list[PaperNumber]
    structures: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings by a name that numbers may give in their place"
    )
    left_open: dict[str, dict[str, dict[str, Any]]] = Field(
        default_factory=dict,
        description="what a setting that a run leaves open (null) comes to: method -> setting -> backbone -> value",
    )


class Paper:
    """Published numbers, found by what a row is."""

    def __init__(
        self,
        numbers: list[PaperNumber],
        left_open: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        self.numbers = tuple(numbers)
        self._left_open = left_open or {}
        self._by_row: dict[tuple[str, str], list[PaperNumber]] = {}
        for number in numbers:
            self._by_row.setdefault((number.method, number.backbone), []).append(number)

    def of(self, row: Measured) -> list[PaperNumber]:
        """The numbers for a row, those that name most of its conditions first, then in the file's order.

        A number with a condition (settings, label, data set, frames, views) that is not the row's is left out: 32
        frames are not compared with 8, nor two adapters a block with one. A row with a setting that the number does
        not name, with other weights or another image size, or trained on a share of the clips has none.
        """
        if row.fraction < 1 or row.image_size is not None or not row.as_released:
            return []
        found = []
        for number in self._by_row.get((row.method, row.backbone), []):
            conditions = [
                (number.dataset, row.dataset),
                (number.frames, row.frames),
                (number.views, row.views),
            ]
            fits = all(
                said is None or said == ours for said, ours in [*conditions, (number.label, row.label)]
            )
            if fits and self._is_of(number, row):
                found.append((-sum(said is not None for said, _ in conditions), number))
        return [number for _, number in sorted(found, key=lambda pair: pair[0])]

    def _is_of(self, number: PaperNumber, row: Measured) -> bool:
        """Whether the row has the settings that the number names, and was given no other."""
        named = number.settings
        if not isinstance(named, dict) or row.given - named.keys():
            return False
        open_ = self._left_open.get(row.method, {})
        for name, value in named.items():
            if name not in row.settings:  # of a version that did not record it
                return False
            ours = row.settings[name]
            if ours is None and value is not None:
                ours = open_.get(name, {}).get(row.backbone)
            if _plain(ours) != _plain(value):
                return False
        return True


def _plain(value: Any) -> Any:
    """A value to compare: names in a list, such as places in a block, mean the same in any order."""
    if not isinstance(value, (list, tuple)):
        return value
    return sorted(value) if all(isinstance(v, str) for v in value) else list(value)


def load_paper(path: Path | None = None) -> Paper:
    """The published numbers that the package ships, with those of a file of the user's own laid over them.

    A cell of that file takes the place of the shipped one of the same method, settings, backbone, data set, frames
    and views; all others stay.

    Raises:
        UserError: the file cannot be read or a field is wrong.
    """
    shipped = _read(resources.files("petl_bench").joinpath("configs", "paper.yaml"), "configs/paper.yaml")
    numbers = _resolved(shipped.numbers, shipped.structures)
    if path is None:
        return Paper(numbers, shipped.left_open)
    own = _read(path, str(path))
    own_numbers = _resolved(own.numbers, shipped.structures | own.structures)
    return Paper(laid_over(numbers, own_numbers), merge(shipped.left_open, own.left_open))


def laid_over(shipped: list[PaperNumber], own: list[PaperNumber]) -> list[PaperNumber]:
    """`own` before what is left of `shipped` where `own` says the same fields of the same thing."""
    said: dict[tuple[object, ...], set[str]] = {}
    for number in own:
        said.setdefault(number.identity, set()).update(number.values())
    left = [n.model_copy(update=dict.fromkeys(said.get(n.identity, ()))) for n in shipped]
    return [*own, *(number for number in left if number.values())]


def _resolved(numbers: list[PaperNumber], structures: Mapping[str, dict[str, Any]]) -> list[PaperNumber]:
    """The numbers with the settings of the structures that they name. Raises UserError for unknown ones."""
    out = []
    for number in numbers:
        named = number.settings
        if isinstance(named, str) and named != UNKNOWN:
            if named not in structures:
                raise unknown_name("structure of a published number", named, [*structures, UNKNOWN])
            number = number.model_copy(update={"settings": structures[named], "name": number.name or named})
        out.append(number)
    return out


def _read(file: Any, name: str) -> PaperNumbers:
    return validated(PaperNumbers, read_yaml(file), name)
