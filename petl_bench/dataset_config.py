"""The config of a data set: where its clips are, how they are sampled, augmented and tested. Free of torch."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import BeforeValidator, Field, field_validator, model_validator

from petl_bench.fields import FolderName, Number, Seed, Switch, Text, Whole, whole
from petl_bench.randaugment_policy import parse_policy
from petl_bench.records import Frozen

_WHOLE = BeforeValidator(whole)  # or `true` would pass for 1


def _off(value: Any) -> Any:
    return "off" if value is False else value  # as YAML 1.1 reads the word


class Sampling(Frozen):
    """Which frames of a video make a clip."""

    frames: Whole = Field(8, ge=1, le=1024)
    mode: Literal["segments", "official_segments", "dense"] = Field(
        "segments",
        description="segments: one frame from each of `frames` equal parts (TSN); official_segments: the same "
        "with the parts of the official ST-Adapter code, which share their ends; dense: every stride-th",
    )
    stride: Whole = Field(
        16, ge=1, le=10_000, description="dense only: distance of two frames, in frames of the video"
    )


Ratio = Annotated[Number, Field(ge=0, le=100)]
SMALLEST_RATIO = 1e-3


class Augment(Frozen):
    """Augmentation of training clips: one random draw for all frames of a clip."""

    crop: Literal["jitter", "resized"] = Field(
        "resized", description="jitter: short side scaled, then a random square; resized: RandomResizedCrop"
    )
    jitter: tuple[Ratio, Ratio] = Field((1.0, 1.15), description="short side / input size, for crop=jitter")
    scale: tuple[Ratio, Ratio] = Field((0.08, 1.0), description="share of the area, for crop=resized")
    ratio: tuple[Ratio, Ratio] = Field((0.75, 4 / 3), description="width / height, for crop=resized")
    flip: Switch = Field(False, description="horizontal flip; wrong where labels tell left from right")
    randaugment: str | None = Field(
        None, description="RandAugment of whole frames before the crop, such as rand-m7-n4-mstd0.5-inc1"
    )

    @field_validator("randaugment")
    @classmethod
    def _policy(cls, text: str | None) -> str | None:
        if text is not None:
            parse_policy(text)
        return text

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("jitter", "scale", "ratio"):
            low, high = getattr(self, name)
            if not SMALLEST_RATIO <= low <= high:
                raise ValueError(
                    f"{name} is [{low:g}, {high:g}]: it must be {SMALLEST_RATIO} or more and go up"
                )
        if self.scale[1] > 1:
            raise ValueError(
                f"scale is [{self.scale[0]:g}, {self.scale[1]:g}]: no crop is larger than the frame"
            )
        if self.jitter[0] < 1:
            raise ValueError(
                f"jitter begins at {self.jitter[0]:g}: below 1 the crop does not fit in the frame"
            )
        return self


class Views(Frozen):
    """Test views of a clip: temporal x spatial; their scores are averaged after the softmax."""

    temporal: Whole = Field(1, ge=1, le=100)
    spatial: Annotated[Literal[1, 3], _WHOLE] = 1


class SynthSource(Frozen):
    """Videos that the package renders itself."""

    kind: Literal["synth"]
    task: Literal["motion", "appearance"]
    train_clips: Whole = Field(ge=1, le=10_000_000)
    test_clips: Whole = Field(ge=1, le=10_000_000)
    size: Whole = Field(64, ge=16, le=4096, description="height and width of the files, pixels")
    length: Whole = Field(24, ge=2, le=10_000, description="frames of a file")
    seed: Seed = 0


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


# Where something may lie, relative to the root of the data set (or absolute): the first that is there counts.
Paths = Annotated[tuple[Text, ...], BeforeValidator(_several), Field(min_length=1)]


def _beside(folders: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{folder}{name}" for name in names for folder in folders)


class SSv2Source(Frozen):
    """Something-Something-v2 as downloaded: class labels, two split files, one folder of .webm."""

    kind: Literal["ssv2"]
    videos: Paths = ("20bn-something-something-v2", "videos")
    labels: Paths = _beside(("labels/", ""), ("labels.json", "something-something-v2-labels.json"))
    train: Paths = _beside(
        ("labels/", ""), ("train.json", "something-something-v2-train.json", "train.txt", "train.csv")
    )
    test: Paths = _beside(
        ("labels/", ""), ("validation.json", "something-something-v2-validation.json", "val.txt", "val.csv")
    )


class KineticsSource(Frozen):
    """Kinetics: the publisher's CSVs or text lists; videos flat or in class folders."""

    kind: Literal["kinetics"]
    train: Paths = _beside(
        ("annotations/", "", "kinetics400/"), ("train.csv", "kinetics_train.csv", "train.txt")
    )
    test: Paths = _beside(
        ("annotations/", "", "kinetics400/"),
        ("val.csv", "validate.csv", "kinetics_val.csv", "val.txt", "validate.txt"),
    )
    train_videos: Paths = ("train", "videos_train", "train_256", "videos", ".")
    test_videos: Paths = ("val", "validate", "videos_val", "val_256", "videos", ".")
    replacements: Paths = Field(
        ("replacement/replacement_for_corrupted_k400", "replacement_for_corrupted_k400"),
        description="whole files for broken ones, where there are any; they come first",
    )


class EpicSource(Frozen):
    """EPIC-Kitchens-100: the publisher's CSVs; long videos, or clips cut from them."""

    kind: Literal["epic"]
    train: Paths = _beside(("epic-kitchens-100-annotations/", "annotations/", ""), ("EPIC_100_train.csv",))
    test: Paths = _beside(
        ("epic-kitchens-100-annotations/", "annotations/", ""), ("EPIC_100_validation.csv",)
    )
    verbs: Paths = _beside(
        ("epic-kitchens-100-annotations/", "annotations/", ""), ("EPIC_100_verb_classes.csv",)
    )
    nouns: Paths = _beside(
        ("epic-kitchens-100-annotations/", "annotations/", ""),
        ("EPIC_100_noun_classes.csv", "EPIC_100_noun_classes_v2.csv"),
    )
    videos: Paths = ("clips", "EPIC-KITCHENS", "videos", ".")


OfficialSplit = Annotated[Literal[1, 2, 3], _WHOLE]


class UCF101Source(Frozen):
    """UCF101: classInd.txt, trainlist0N.txt, testlist0N.txt; one folder of videos for each class."""

    kind: Literal["ucf101"]
    videos: Paths = ("UCF-101", "UCF101", "videos")
    splits: Paths = (
        "ucfTrainTestlist",
        "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist",
        "splits",
    )
    split: OfficialSplit = Field(1, description="which of the three official splits")


class HMDB51Source(Frozen):
    """HMDB51: <class>_test_splitN.txt for each class; one folder of videos for each class."""

    kind: Literal["hmdb51"]
    videos: Paths = ("hmdb51_org", "hmdb51", "videos")
    splits: Paths = ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits", "splits")
    split: OfficialSplit = Field(1, description="which of the three official splits")


class Diving48Source(Frozen):
    """Diving48, version 2 of the annotations; one folder of videos, already cut."""

    kind: Literal["diving48"]
    videos: Paths = ("rgb", "videos")
    train: Paths = _beside(("", "annotations/", "labels/"), ("Diving48_V2_train.json",))
    test: Paths = _beside(("", "annotations/", "labels/"), ("Diving48_V2_test.json",))
    vocabulary: Paths = _beside(("", "annotations/", "labels/"), ("Diving48_vocab.json",))


class ListSource(Frozen):
    """Text lists, a line `path label` for each clip, or CSV files with a header (path, label[, split])."""

    kind: Literal["list"]
    train: Paths = ("train.txt", "train.csv")
    test: Paths = ("test.txt", "test.csv", "val.txt", "val.csv")
    videos: Paths = (".",)


class FoldersSource(Frozen):
    """Class folders: train/<class>/<video>, test/<class>/<video>."""

    kind: Literal["folders"]
    train: Paths = ("train",)
    test: Paths = ("test", "val", "validation")


FileSource = (
    SSv2Source
    | KineticsSource
    | EpicSource
    | UCF101Source
    | HMDB51Source
    | Diving48Source
    | ListSource
    | FoldersSource
)


class DatasetConfig(Frozen):
    """A data set: where its clips are, how they are sampled, augmented and tested."""

    name: FolderName
    summary: str
    classes: Whole = Field(ge=2, le=1_000_000)
    heads: dict[Text, Annotated[Whole, Field(ge=1, le=1_000_000)]] = Field(
        default_factory=dict,
        description="where a label is several at once: name -> classes of each; `classes` is their product",
    )
    fraction: Number = Field(
        1.0, ge=1e-6, le=1, description="share of the training clips, of each class alike; smaller in larger"
    )
    source: Annotated[SynthSource | FileSource, Field(discriminator="kind")]
    root: Text | None = Field(None, description="folder of the data; default: PETL_BENCH_DATA/<name>")
    prepared: Annotated[Text | None, BeforeValidator(_off)] = Field(
        None,
        description="folder of the frames that `petl-bench datasets prepare` made, or off; default: they are used "
        "where it puts them, if they are there",
    )
    sampling: Sampling = Sampling()
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear",
        description="of resized frames, in training and tests: bilinear with antialiasing, or bicubic without "
        "(as the official ST-Adapter code)",
    )
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


def data_home() -> Path:
    """The folder of all data sets: PETL_BENCH_DATA, else the user's data folder."""
    folder = os.environ.get("PETL_BENCH_DATA")
    if folder:
        return Path(folder).expanduser()
    return Path(platformdirs.user_data_dir("petl-bench", appauthor=False))


def data_root(config: DatasetConfig) -> Path:
    """The folder of a data set: `config.root`, else PETL_BENCH_DATA/<name>, else the user's data folder."""
    return Path(config.root).expanduser() if config.root else data_home() / config.name


def own_datasets() -> dict[str, Path]:
    """The configs that `petl-bench datasets add` wrote: name -> <data home>/<name>/dataset.yaml."""
    return {file.parent.name: file for file in sorted(data_home().glob("*/dataset.yaml"))}
