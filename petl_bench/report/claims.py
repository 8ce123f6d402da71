"""The claims of `configs/claims.yaml`, or of a file of the user's own, and which rows they speak of."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from petl_bench.config import read_yaml, validated
from petl_bench.records import Frozen

COSTS = ("compute_seconds", "peak_memory_mb")
Measured = Literal["top1", "shuffled_drop", "trained_share", "compute_seconds", "peak_memory_mb"]


def _range(value: Any) -> Any:
    return (value, value) if isinstance(value, (int, float)) else value


def _name(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


def _list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Range = Annotated[tuple[float, float], BeforeValidator(_range)]


class Rows(Frozen):
    """Rows of a method: its base, or with `vary` those that differ from it in one setting alone."""

    method: str
    vary: str | None = None
    time: Range | None = Field(None, description="first number of a kernel")
    space: Range | None = Field(None, description="largest of its other numbers")
    count: Range | None = Field(None, description="length of a list")
    share: Range | None = Field(None, description="of the base's number, or of all blocks")
    end: Literal["first", "last"] | None = Field(None, description="of the blocks")

    @model_validator(mode="after")
    def _varied(self) -> Self:
        if self.conditions() and self.vary is None:
            raise ValueError(f"{', '.join(self.conditions())}: only with `vary`, the setting that it is of")
        return self

    def conditions(self) -> dict[str, Any]:
        """What is asked of the setting's value, by name."""
        names = ("time", "space", "count", "share", "end")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def name(self) -> str:
        """`st_adapter`, `st_adapter with other kernel`."""
        return self.method if self.vary is None else f"{self.method} with other {self.vary}"

    @property
    def text(self) -> str:
        """The name with what is asked: `st_adapter with other kernel (time 1)`."""
        said = [
            f"{name} {v if isinstance(v, str) else f'{v[0]:g}' if v[0] == v[1] else f'{v[0]:g} to {v[1]:g}'}"
            for name, v in self.conditions().items()
        ]
        return self.name + (f" ({', '.join(said)})" if said else "")


Selected = Annotated[Rows, BeforeValidator(_name)]


class Claim(Frozen):
    """One statement and how runs decide it; see the head of `configs/claims.yaml`."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    finding: int | None = None
    statement: str
    measure: Measured
    of: Selected | None = None
    than: Annotated[list[Selected], BeforeValidator(_list)] = Field(default_factory=list)
    among: Selected | None = None
    kind: Literal["difference", "ratio"] = Field("difference", alias="as")
    above: float | None = None
    below: float | None = None
    within: float | None = Field(None, gt=0)
    match: Literal["count"] | None = None
    more_on_temporal: bool = False
    runs: int = Field(3, ge=1, description="pairs without which there is no verdict")

    @field_validator("id", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _decidable(self) -> Self:
        if (self.of is None) == (self.among is None):
            raise ValueError("needs `of` or `among`, and not both")
        if [self.above, self.below, self.within].count(None) != 2:
            raise ValueError("needs one of `above`, `below` and `within`")
        if not self.than and (self.kind == "ratio" or self.more_on_temporal or self.match):
            raise ValueError("`as: ratio`, `match` and `more_on_temporal` need `than`")
        if self.kind == "ratio" and self.measure not in COSTS:
            raise ValueError(f"`as: ratio` is for {' and '.join(COSTS)}")
        if self.more_on_temporal and any(rows.vary for rows in (self.subject, *self.than)):
            raise ValueError("`more_on_temporal` is for base rows, without `vary`")
        return self

    @property
    def subject(self) -> Rows:
        """The rows without which the claim is not asked at all."""
        rows = self.of or self.among
        assert rows is not None  # validated
        return rows

    @property
    def limit(self) -> float:
        """The number that decides."""
        return next(v for v in (self.above, self.below, self.within) if v is not None)


class Claims(Frozen):
    """The file."""

    temporal: list[str] = Field(default_factory=list, description="data sets that demand a sense of time")
    appearance: list[str] = Field(default_factory=list, description="data sets told by what is seen")
    findings: dict[int, str] = Field(default_factory=dict)
    claims: list[Claim]

    @model_validator(mode="after")
    def _once(self) -> Self:
        ids = [claim.id for claim in self.claims]
        if twice := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"id {min(twice)!r} stands twice")
        return self


def load_claims(path: Path | None = None) -> Claims:
    """The claims of a file, or those that the package ships.

    Raises:
        UserError: the file cannot be read or a field is wrong.
    """
    file = path or resources.files("petl_bench").joinpath("configs", "claims.yaml")
    return validated(Claims, read_yaml(file), str(path) if path else "configs/claims.yaml")
