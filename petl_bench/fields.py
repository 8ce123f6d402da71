"""Types of the fields of configs. A YAML `true` is not the number 1, `.nan` and `.inf` are not settings, and a name
that becomes a folder cannot lead out of its place."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

LONGEST_NAME = 200  # characters; file systems take 255 bytes, and variants add to names


def whole(value: Any) -> int:
    """A whole number, 4.0 included. Raises ValueError for all else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number")
    return value


def _no_way_out(name: str) -> str:
    if name in (".", ".."):
        raise ValueError("expected a name: it becomes a folder")
    return name


Whole = Annotated[int, BeforeValidator(whole)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1)]
FolderName = Annotated[
    str, Field(pattern=r"^[\w.@+~=-]+$", max_length=LONGEST_NAME), AfterValidator(_no_way_out)
]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]
# below, float32 weights do not move; above, a step overflows. What merely diverges is an outcome: the run fails.
LearningRate = Annotated[Number, Field(ge=1e-12, le=1e30)]
Below1 = Annotated[Number, Field(ge=0, lt=1)]
