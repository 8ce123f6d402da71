"""The recipe of the embedded CLIP. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from petl_bench.config import Level, Spread, load_named, merge, validated
from petl_bench.fields import Below1, FolderName, LearningRate, Number, Seed, Switch, Whole
from petl_bench.pretrain.vocabulary import CONTEXT, WORDS, Attribute
from petl_bench.records import Frozen


class ImageTower(Frozen):
    """A vision transformer."""

    image_size: Whole = Field(default=48, ge=8, le=65_536)
    patch_size: Whole = Field(default=12, ge=2, le=65_536)
    width: Whole = Field(default=128, ge=8, le=65_536, multiple_of=4)
    layers: Whole = Field(default=4, ge=1, le=65_536)
    head_width: Whole = Field(default=32, ge=4, le=65_536)

    @model_validator(mode="after")
    def _divides(self) -> ImageTower:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.width % self.head_width:
            raise ValueError(f"width {self.width} is not a multiple of head_width {self.head_width}")
        return self


class TextTower(Frozen):
    """A causal transformer over the words of a caption."""

    width: Whole = Field(default=128, ge=8, le=65_536)
    layers: Whole = Field(default=2, ge=1, le=65_536)
    heads: Whole = Field(default=4, ge=1, le=65_536)

    @model_validator(mode="after")
    def _divides(self) -> TextTower:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class PretrainConfig(Frozen):
    """Everything that decides the weights of a pretraining, but for the device."""

    name: FolderName = Field(description="of the files that are written")
    summary: str = ""
    image: ImageTower = ImageTower()
    text: TextTower = TextTower()
    embed_dim: Whole = Field(default=128, ge=8, le=65_536)
    position_scale: Number = Field(
        default=1.0, ge=0, le=1000, description="size of the sin-cos position embedding at the start"
    )
    position_temperature: Number = Field(
        default=10_000.0, gt=1, le=1e9, description="slowest over fastest of its waves"
    )
    seed: Seed = 0
    steps: Whole = Field(ge=1, le=10_000_000)
    batch_size: Whole = Field(
        ge=2, le=65_536, description="stills of a step; each is a negative for all others"
    )
    lr: LearningRate = Field(default=1.5e-3, description="peak; cosine to zero")
    warmup_steps: Whole = Field(default=300, ge=0, le=10_000_000)
    weight_decay: Number = Field(default=0.1, ge=0, le=10, description="on matrices only")
    betas: tuple[Below1, Below1] = (0.9, 0.98)
    group: Whole = Field(default=8, ge=1, le=65_536, description="stills of a group share attributes")
    shared: dict[Attribute, Annotated[Number, Field(ge=0, le=1)]] = Field(
        default={"background": 1.0, "colours": 1.0}, description="chance that a group shares an attribute"
    )
    keep: Number = Field(default=0.8, ge=1e-6, le=1, description="chance that a caption names an attribute")
    single: Number = Field(default=0.3, ge=0, le=1, description="share of captions of one object only")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="auto: bf16 on GPUs")
    compile: Switch = Field(default=False, description="torch.compile the two towers")
    log_every: Whole = Field(default=100, ge=1, le=10_000_000, description="steps")
    checkpoint_seconds: Number = Field(default=60, ge=1e-3, le=1e6)
    held_out: Whole = Field(
        default=4096, ge=2, le=10_000_000, description="fresh stills of the final evaluation"
    )
    retrieval: Whole = Field(
        default=1024, ge=2, le=65_536, description="captions among which a still's own is sought"
    )
    mean: tuple[Level, Level, Level] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Spread, Spread, Spread] = (0.26862954, 0.26130258, 0.27577711)

    @model_validator(mode="after")
    def _warmup_ends(self) -> PretrainConfig:
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, but steps is {self.steps}")
        return self

    def open_clip_config(self) -> dict[str, Any]:
        """The arguments of `open_clip.model.CLIP`, as kept in the header of the weights' file."""
        return {
            "embed_dim": self.embed_dim,
            "quick_gelu": False,
            "vision_cfg": self.image.model_dump(),
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": len(WORDS),
                "pool_type": "argmax",
                **self.text.model_dump(),
            },
        }


def load_pretrain_config(name: str, changes: Mapping[str, Any] | None = None) -> PretrainConfig:
    """A config of `configs/pretrain` or a YAML file, with changes.

    Raises:
        UserError: unknown name, or a field that is not valid.
    """
    data = merge(load_named("pretrain", name), changes or {})
    return validated(PretrainConfig, data, f"The pretraining config {name!r}")
