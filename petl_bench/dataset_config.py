"""The config of a data set: where its clips are, how they are sampled, augmented and tested. Free of torch."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from petl_bench.records import Frozen

FolderName = Annotated[str, Field(pattern=r"^[\w.@+~=-]+$")]  # names and labels become folders


class Sampling(Frozen):
    """Which frames of a video make a clip."""

    frames: int = Field(8, ge=1)
    mode: Literal["segments", "dense"] = Field(
        "segments",
        description="segments: one frame from each of `frames` equal parts (TSN); dense: every stride-th",
    )
    stride: int = Field(16, ge=1, description="dense only: distance of two frames, in frames of the video")


class Augment(Frozen):
    """Augmentation of training clips: one random draw for all frames of a clip."""

    crop: Literal["jitter", "resized"] = Field(
        "resized", description="jitter: short side scaled, then a random square; resized: RandomResizedCrop"
    )
    jitter: tuple[float, float] = Field((1.0, 1.15), description="short side / input size, for crop=jitter")
    scale: tuple[float, float] = Field((0.08, 1.0), description="share of the area, for crop=resized")
    ratio: tuple[float, float] = Field((0.75, 4 / 3), description="width / height, for crop=resized")
    flip: bool = Field(False, description="horizontal flip; wrong where labels tell left from right")


class Views(Frozen):
    """Test views of a clip: temporal x spatial; their scores are averaged after the softmax."""

    temporal: int = Field(1, ge=1)
    spatial: Literal[1, 3] = 1


class SynthSource(Frozen):
    """Videos that the package renders itself."""

    kind: Literal["synth"]
    task: Literal["motion", "appearance"]
    train_clips: int = Field(ge=1)
    test_clips: int = Field(ge=1)
    size: int = Field(64, ge=16, description="height and width of the files, pixels")
    length: int = Field(24, ge=2, description="frames of a file")
    seed: int = 0


class SSv2Source(Frozen):
    """Something-Something-v2 as downloaded: labels.json, two split files, one folder of .webm."""

    kind: Literal["ssv2"]
    videos: str = "20bn-something-something-v2"
    labels: str = "labels/labels.json"
    train: str = "labels/train.json"
    test: str = "labels/validation.json"


class ListSource(Frozen):
    """Text lists, a line `path label` for each clip (the label is an integer; the path may hold spaces)."""

    kind: Literal["list"]
    train: str = "train.txt"
    test: str = "val.txt"
    videos: str = "."


class DatasetConfig(Frozen):
    """A data set: where its clips are, how they are sampled, augmented and tested."""

    name: FolderName
    summary: str
    classes: int = Field(ge=2)
    heads: dict[str, int] = Field(
        default_factory=dict,
        description="where a label is several at once: name -> classes of each; `classes` is their product",
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the training clips, of each class alike; smaller in larger"
    )
    source: Annotated[SynthSource | SSv2Source | ListSource, Field(discriminator="kind")]
    root: str | None = Field(None, description="folder of the data; default: PETL_BENCH_DATA/<name>")
    sampling: Sampling = Sampling()
    augment: Augment = Augment()
    views: Views = Views()

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.heads and math.prod(self.heads.values()) != self.classes:
            raise ValueError(f"classes is {self.classes}, not the product of the heads {self.heads}")
        return self

    @property
    def outputs(self) -> int:
        """Width of the classifier: one output for each class of each head."""
        return sum(self.heads.values()) or self.classes
