"""What a tuning method is. One file in `methods/` holds one subclass of `Method`; the file's name is its name."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import VideoViT
from petl_bench.config import validated
from petl_bench.errors import UserError
from petl_bench.fields import Number


class Settings(BaseModel):
    """Base of the settings of a method: every field has a default and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# a setting of methods that train pretrained weights beside new modules
FreshLR = Annotated[
    Number,
    Field(
        ge=1e-3,
        le=1000,
        description="learning rate of new modules, the head among them, as a multiple of the pretrained weights'",
    ),
]


class Method(ABC):
    """A way of adapting a frozen image model to video.

    Subclasses say what they are in class attributes and what they do in `adapt`. They own no weights: those
    live in the `AdaptedViT` that they fill.
    """

    summary: ClassVar[str]  # one line: what trains
    place: ClassVar[str]  # where it stands in the network
    paper: ClassVar[str]  # authors, title, venue, arXiv number
    Settings: ClassVar[type[BaseModel]] = Settings

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings if settings is not None else self.Settings()

    @property
    def fresh_lr(self) -> float:
        """What the learning rate is multiplied by for all that is not a pretrained weight: the setting, if any."""
        return float(getattr(self.settings, "fresh_lr", 1.0))

    def decays(self, model: AdaptedViT, name: str, parameter: nn.Parameter) -> bool:
        """Whether a parameter, by its name in `model`, gets weight decay.

        By default matrices and kernels do; biases, norms and other vectors do not, nor what a module lists by name
        in `no_weight_decay()`, as timm's ViTs do with their tokens and position embeddings.
        """
        place, _, own = name.rpartition(".")
        unlisted = getattr(model.get_submodule(place), "no_weight_decay", set)
        return parameter.ndim >= 2 and own not in unlisted()

    @property
    def identity_at_init(self) -> bool:
        """True where features equal the frozen backbone's before training. A class attribute will do."""
        return False

    @property
    def order_blind(self) -> bool:
        """True where the method's output cannot depend on the order of the frames."""
        return True

    def first_block(self, backbone: VideoViT) -> int:
        """The first block that the method touches; everything before runs once for all methods.

        `backbone.depth` means that only what follows the last block is touched.
        """
        return 0

    @abstractmethod
    def adapt(self, model: AdaptedViT) -> None:
        """Fill slots, own blocks, set the pooling. Every parameter of `model` trains."""


def chosen_blocks(blocks: list[int] | None, depth: int) -> list[int]:
    """Indices of blocks, all of them for None; negative ones count from the end.

    Raises:
        UserError: an index that the backbone does not have.
    """
    if blocks is None:
        return list(range(depth))
    bad = [b for b in blocks if not -depth <= b < depth]
    if bad or not blocks:
        raise UserError(f"blocks={blocks}: this backbone has blocks 0 to {depth - 1} (or -{depth} to -1).")
    return sorted({b % depth for b in blocks})


def seed_of(*parts: int | str) -> int:
    """A seed from what it is for: independent of everything else that runs, and of history."""
    digest = hashlib.sha256("/".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def make_method(name: str, settings: dict[str, Any] | None = None) -> Method:
    """A method of the registry with validated settings. Raises UserError for bad names and settings."""
    from petl_bench.registry import find_method

    cls = find_method(name)
    return cls(validated(cls.Settings, settings or {}, f"Method {name!r}"))


def build(
    method: Method,
    backbone: VideoViT,
    classes: int,
    *,
    frames: int = 8,
    seed: int = 0,
    head_dropout: float = 0.0,
) -> AdaptedViT:
    """The adapted model of a method, initialised by `seed` alone (the head alike for all methods)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("init", seed))
        model = AdaptedViT(backbone, classes, frames, head_dropout)
        model.first_block = method.first_block(backbone)
        torch.manual_seed(seed_of("adapt", seed))
        method.adapt(model)
    device = next(backbone.parameters()).device
    return model.to(device)
