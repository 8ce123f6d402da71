"""What a run leaves behind: `record.json`, one per run. Free of torch, so that reports need none.

The record is the interface between training and reporting. A record of a newer schema is an error that says so;
one that is older than a setting of its method is read with what the method did then (`OLDER_DEFAULTS`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
# method -> what it did before a setting existed whose default today is something else: a record without the
# setting was made so, and must not pass for a run with today's default
OLDER_DEFAULTS: dict[str, dict[str, Any]] = {"full": {"fresh_lr": 1.0}}
OLDER_DATASET = {"interpolation": "bilinear"}  # likewise, fields of a data set's config


class Frozen(BaseModel):
    """Base of all configs and records: unknown fields are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadMetrics(Frozen):
    """Scores of one head of a data set with several (EPIC-Kitchens: verb and noun), in percent."""

    top1: float
    top5: float | None = None
    mean_class: float


class Metrics(Frozen):
    """Scores on the test split, touched once after the last step. All accuracies are in percent.

    With several heads, a clip is right where all of them are; the heads' own scores stand in `heads`.
    """

    top1: float
    top5: float | None = Field(None, description="None where the data set has 5 classes or fewer")
    mean_class: float = Field(description="accuracy of each class, averaged over the classes that have clips")
    pair_accuracy: float | None = Field(
        None, description="share of clips scored higher for their class than for its time-reversed twin"
    )
    n_test: int
    validation_top1: float | None = Field(None, description="on the validation part, after the last epoch")
    top1_reversed: float | None = Field(None, description="top-1 with the frames of each clip in reverse")
    top1_shuffled: float | None = Field(
        None, description="top-1 with the frames of each clip in random order"
    )
    heads: dict[str, HeadMetrics] = Field(default_factory=dict, description="head -> its own scores")
    per_class: dict[str, float] = Field(default_factory=dict, description="class name -> accuracy")
    per_pair: dict[str, float] = Field(
        default_factory=dict, description='"class/twin" -> pair accuracy of the clips of both'
    )


class Cost(Frozen):
    """What a method costs. The head is the classifier alone: its weight and bias."""

    trainable_params: int
    trainable_params_without_head: int
    total_params: int = Field(description="of the adapted model: frozen, trained and head")
    gflops_per_view: float = Field(description="multiply-adds of one view (fvcore), in 1e9")
    views: int
    gflops: float = Field(description="gflops_per_view x views")
    peak_memory_mb: float = Field(description="of a training step of this method alone, in MiB")
    peak_memory_source: str = Field(
        description="how it was measured: cuda allocator, or state + saved tensors"
    )
    compute_seconds: float = Field(
        description="training compute of the method, with the frozen prefix it uses"
    )
    prefix_seconds: float = Field(description="the part of compute_seconds that lockstep shares with others")
    data_seconds: float = Field(
        description="time the loop waited for data or augmented it on the device, shared by all in the lockstep"
    )
    alone_seconds: float = Field(
        description="what the run would take alone: the longer of compute (with augmentation on the device) and "
        "decoding; their sum without workers"
    )
    step_ms: float = Field(description="median time of a training step, prefix included")
    train_clips_per_second: float
    test_clips_per_second: float
    adapter_bytes: int = Field(description="size of adapter.safetensors")


class Clips(Frozen):
    """How many clips a split offered, and what became of them."""

    used: int
    skipped: int = Field(0, description="left out by a skip list or because the file is missing")
    unreadable: int = Field(0, description="failed to decode while training or testing; never replaced")


class Selection(Frozen):
    """How the learning rate was chosen: on the validation part, with the same grid for every method."""

    grid: list[float]
    validation_top1: dict[str, float] = Field(
        description="learning rate (as text) -> validation top-1, percent"
    )
    seed: int
    source: str = Field(description="the file that holds the whole search")
    train_clips: int | None = Field(None, description="that the search trained on")
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="what the search had otherwise than the run: field -> the search's"
    )


class PreparedFrames(Frozen):
    """Frames that came from a cache, made by `petl-bench datasets prepare`, instead of the videos."""

    format: str = Field(description="such as 'jpeg quality 90'")
    decoders: list[str] = Field(description="names and versions of what the videos were decoded with")
    clips: dict[str, int] = Field(description="split -> clips that the cache held; the others were decoded")
    sha256: str = Field(description="of the format, and of the checksums of these clips")


class Provenance(Frozen):
    """Where a number comes from."""

    petl_bench: str
    git_commit: str | None
    git_dirty: bool | None
    python: str
    packages: dict[str, str]
    platform: str
    device: str
    threads: int
    precision: str
    decoder: str = Field(description="name and version, such as 'decord 3.4.0'")
    augment_on: Literal["workers", "device"] = Field("workers", description="who augmented clips")
    backbone_sha256: str = Field(description="of the backbone's weights as loaded")
    data_sha256: str = Field(description="of the manifests of the splits")
    prepared: PreparedFrames | None = Field(None, description="None: every clip was decoded from its video")
    clips: dict[str, Clips] = Field(description="split (train, validation, test) -> counts")
    companions: list[str] = Field(description="labels of the runs trained in the same lockstep")
    lockstep_seconds: float = Field(0.0, description="wall-clock of the lockstep's training, all methods")
    started: str = Field(description="ISO 8601, UTC")
    ended: str | None = None
    sessions: int = Field(1, description="how many times the run was started or resumed")


class RunRecord(Frozen):
    """One run: (method, dataset, backbone, seed, recipe) and everything measured on it."""

    schema_version: Literal[1] = 1
    status: Literal["running", "done", "failed"]
    error: str | None = None
    suite: str
    dataset: str
    label: str = Field(description="name of the run's folder: the method, or a variant of it")
    method: str
    backbone: str
    seed: int
    settings: dict[str, Any] = Field(
        default_factory=dict, description="of the method, defaults filled in; what a sweep varies stands here"
    )
    order_blind: bool = Field(description="the method cannot tell a clip from its reversal, by construction")
    metrics: Metrics | None = None
    cost: Cost | None = None
    selection: Selection | None = None
    provenance: Provenance | None = None
    config: dict[str, Any] = Field(
        default_factory=dict, description="the resolved RunConfig, all defaults in"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_older_defaults(cls, data: Any) -> Any:
        match data:
            case {"config": {"dataset": dict(dataset)}}:
                data = {**data, "config": {**data["config"], "dataset": {**OLDER_DATASET, **dataset}}}
        match data:
            case {"method": str(name), "settings": dict(used), "config": {"method": dict(method)}}:
                older = {k: v for k, v in OLDER_DEFAULTS.get(name, {}).items() if k not in used}
                if older and used:
                    given = {**(method.get("settings") or {}), **older}
                    config = {**data["config"], "method": {**method, "settings": given}}
                    return {**data, "settings": {**used, **older}, "config": config}
        return data
