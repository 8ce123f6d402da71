"""Backbones: pretrained image ViTs seen as video models.

The canonical module is timm's `VisionTransformer`; weights come from open_clip (tags and local files),
timm, or the embedded tiny CLIP (`backbone_sources.py`).

Axes: `B` clips, `T` frames of a clip, `N` patches of a frame, `P` prefix tokens (class and registers),
`D` width. The tokens of a clip's frames are `x` of shape (B*T, P + prompts + N, D); patches are always last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from timm.layers import get_act_layer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from petl_bench.block import ClipShape as ClipShape  # for methods, beside VideoViT
from petl_bench.block import run_block
from petl_bench.compiler import check_compiler, start_compiling
from petl_bench.config import BackboneConfig
from petl_bench.errors import UserError
from petl_bench.kernels import with_lean_activations

RANDOM_SEED = 0  # of `weights: random`, so that its hash names one set of weights
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CLIP_FIELDS = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}


class VideoViT(nn.Module):
    """A frozen image ViT over the frames of clips.

    Its weights never train: methods that train parts of it own copies (see `AdaptedViT`).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: VisionTransformer, config: BackboneConfig) -> None:
        super().__init__()
        block = vit.blocks[0]
        missing = [n for n in ("norm1", "attn", "ls1", "norm2", "mlp", "ls2") if not hasattr(block, n)]
        if missing or not hasattr(vit, "norm_pre"):
            raise UserError(
                f"Backbone {config.name!r}: {type(vit).__name__} with blocks of {type(block).__name__} is not a "
                "plain pre-norm ViT, so methods have no place to stand in it. Choose a timm vit_* model."
            )
        if vit.global_pool not in ("token", "avg"):
            raise UserError(
                f"Backbone {config.name!r}: {config.model} pools by {vit.global_pool!r}, which is not supported; "
                "choose a ViT that pools by its class token or by the mean of its patches."
            )
        if bad := [s for s in vit.patch_embed.img_size if s % vit.patch_embed.patch_size[0]]:
            raise UserError(
                f"Backbone {config.name!r}: image_size={bad[0]} is no multiple of the patches' "
                f"{vit.patch_embed.patch_size[0]} pixels."
            )
        self.config = config
        self.vit = with_lean_activations(vit).requires_grad_(False).eval()
        self.run_block: Callable[..., Tensor] = run_block  # compiled, see `set_compiled`
        mean, std = config.mean or CLIP_MEAN, config.std or CLIP_STD
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)
        self.depth: int = len(vit.blocks)
        self.width: int = vit.embed_dim
        self.heads: int = block.attn.num_heads
        self.prefix_tokens: int = vit.num_prefix_tokens
        self.patch: tuple[int, int] = vit.patch_embed.patch_size
        self.image_size: int = vit.patch_embed.img_size[0]

    def train(self, mode: bool = True) -> VideoViT:
        """Frozen weights stay in evaluation mode."""
        return super().train(False)

    def set_compiled(self, compiled: bool) -> None:
        """Compile the forward and backward pass of a block, once for blocks of the same make, frozen or adapted.

        Raises UserError where torch cannot compile for the device of the weights.
        """
        if compiled:
            check_compiler(next(self.parameters()).device)
            start_compiling()
        self.run_block = torch.compile(run_block, dynamic=False) if compiled else run_block

    @contextmanager
    def held_in(self, precision: torch.dtype) -> Iterator[None]:
        """Within it, layers that autocast computes in `precision` hold their weights in it.

        Autocast would cast them anew in every pass: the numbers are the same, the casts are gone, and so are the
        float32 weights from the device; they wait on the CPU. Methods copy weights before it; after it they are as they
        were, to the bit.
        """
        full: dict[nn.Parameter, Tensor] = {}
        try:
            for layer in self.vit.modules() if precision != torch.float32 else ():
                if type(layer) in (nn.Linear, nn.Conv2d):  # another may do something else with its weight
                    for weight in layer.parameters(recurse=False):
                        full.setdefault(weight, weight.data.cpu())
                        weight.data = weight.data.to(precision)
            yield
        finally:
            for weight, data in full.items():
                weight.data = data.to(weight.device)

    @property
    def compiled(self) -> bool:
        return self.run_block is not run_block

    def shape_of(self, clips: Tensor) -> ClipShape:
        """Shape of the tokens of clips (B, T, 3, H, W). Raises UserError for sizes that patches do not tile."""
        B, T, _, H, W = clips.shape
        if H % self.patch[0] or W % self.patch[1]:
            raise UserError(
                f"Frames of {H}x{W} pixels are not tiled by patches of {self.patch[0]}x{self.patch[1]}."
            )
        return ClipShape(B, T, (H // self.patch[0], W // self.patch[1]), self.prefix_tokens)

    def pixels(self, clips: Tensor) -> Tensor:
        """uint8 clips (B, T, 3, H, W), range 0..255, as normalised frames (B*T, 3, H, W)."""
        return (clips.flatten(0, 1).float() - self.mean) / self.std

    def weights_sha256(self) -> str:
        """Hash of every weight, in the order of their names."""
        digest = hashlib.sha256()
        for name, value in sorted(self.vit.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()


def embed(vit: VisionTransformer, pixels: Tensor) -> Tensor:
    """Tokens that enter the first block: (B*T, 3, H, W) -> (B*T, P + N, D)."""
    x = vit.patch_embed(pixels)
    x = vit._pos_embed(x)
    return vit.norm_pre(x)  # type: ignore[no-any-return]


def load_backbone(config: BackboneConfig) -> VideoViT:
    """The backbone of a config, frozen, in float32 on the CPU.

    Its `config` has the mean and std that the weights were trained with, where the given one leaves them open.

    Raises:
        UserError: unknown models, weights that are missing (says where to put which file), do not fit, or were trained
            with another activation than the model's.
    """
    from petl_bench.backbone_sources import SOURCES

    return SOURCES[config.source](config)


def weightless(config: BackboneConfig) -> VideoViT:
    """The architecture of a backbone on the meta device: shapes without weights, as costs need no others."""
    with torch.device("meta"):
        return load_backbone(config.model_copy(update={"weights": "random"}))


def clip_vit(clip: dict[str, Any], image_size: int | None = None) -> VisionTransformer:
    """timm's ViT with the architecture of an open_clip model config, weights fresh."""
    vision = clip["vision_cfg"]
    if odd := sorted(vision.keys() - CLIP_FIELDS):
        raise UserError(
            f"This open_clip model's image tower is not a plain ViT (it has {', '.join(odd)}); choose a ViT-* model "
            "such as ViT-B-16."
        )
    if not isinstance(vision["layers"], int):
        raise UserError("This open_clip model's image tower is a ResNet; choose a ViT-* model.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        return VisionTransformer(
            img_size=image_size or vision["image_size"],
            patch_size=vision["patch_size"],
            embed_dim=vision["width"],
            depth=vision["layers"],
            num_heads=vision["width"] // vision.get("head_width", 64),
            mlp_ratio=vision.get("mlp_ratio", 4.0),
            pre_norm=True,
            num_classes=0,
            dynamic_img_size=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            act_layer=get_act_layer(clip_activation(clip)),
        )


def clip_activation(clip: dict[str, Any]) -> Literal["quick_gelu", "gelu"]:
    """The activation of an open_clip model config."""
    return "quick_gelu" if clip.get("quick_gelu") else "gelu"
