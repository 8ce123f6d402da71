"""The recipe of the embedded CLIP. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from petl_bench.config import load_named, merge, validated
from petl_bench.pretrain.vocabulary import CONTEXT, WORDS, Attribute
from petl_bench.records import Frozen


class ImageTower(Frozen):
    """A vision transformer."""

    image_size: int = Field(default=48, ge=8)
    patch_size: int = Field(default=12, ge=2)
    width: int = Field(default=128, ge=8, multiple_of=4)
    layers: int = Field(default=4, ge=1)
    head_width: int = Field(default=32, ge=4)

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

    width: int = Field(default=128, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> TextTower:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class PretrainConfig(Frozen):
    """Everything that decides the weights of a pretraining, but for the device."""

    name: str = Field(description="of the files that are written")
    summary: str = ""
    image: ImageTower = ImageTower()
    text: TextTower = TextTower()
    embed_dim: int = Field(default=128, ge=8)
    position_scale: float = Field(
        default=1.0, ge=0, description="size of the sin-cos position embedding at the start"
    )
    position_temperature: float = Field(
        default=10_000.0, gt=1, description="slowest over fastest of its waves"
    )
    seed: int = 0
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2, description="stills of a step; each is a negative for all others")
    lr: float = Field(default=1.5e-3, gt=0, description="peak; cosine to zero")
    warmup_steps: int = Field(default=300, ge=0)
    weight_decay: float = Field(default=0.1, ge=0, description="on matrices only")
    betas: tuple[float, float] = (0.9, 0.98)
    group: int = Field(default=8, ge=1, description="stills of a group share attributes")
    shared: dict[Attribute, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={"background": 1.0, "colours": 1.0}, description="chance that a group shares an attribute"
    )
    keep: float = Field(default=0.8, gt=0, le=1, description="chance that a caption names an attribute")
    single: float = Field(default=0.3, ge=0, le=1, description="share of captions of one object only")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="auto: bf16 on GPUs")
    compile: bool = Field(default=False, description="torch.compile the two towers")
    log_every: int = Field(default=100, ge=1, description="steps")
    checkpoint_seconds: float = Field(default=60, gt=0)
    held_out: int = Field(default=4096, ge=2, description="fresh stills of the final evaluation")
    retrieval: int = Field(default=1024, ge=2, description="captions among which a still's own is sought")
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

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
