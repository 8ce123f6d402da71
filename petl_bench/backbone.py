"""Backbones: pretrained image ViTs seen as video models.

The canonical module is timm's `VisionTransformer`; weights come from open_clip (tags and local files),
timm, or the embedded tiny CLIP. timm's own converter reads open_clip's state dicts.

Axes: `B` clips, `T` frames of a clip, `N` patches of a frame, `P` prefix tokens (class and registers),
`D` width. The tokens of a clip's frames are `x` of shape (B*T, P + prompts + N, D); patches are always last.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm import create_model
from timm.layers import get_act_layer
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from petl_bench.config import BackboneConfig
from petl_bench.errors import UserError

RANDOM_SEED = 0  # of `weights: random`, so that its hash names one set of weights


@dataclass(frozen=True)
class ClipShape:
    """What a slot must know of the tokens it is given.

    Attributes:
        B: clips. T: frames of a clip. grid: rows and columns of patches. P: prefix tokens.
    """

    B: int
    T: int
    grid: tuple[int, int]
    P: int

    @property
    def N(self) -> int:
        return self.grid[0] * self.grid[1]


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
        self.config = config
        self.vit = vit.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1) * 255, persistent=False)
        self.depth: int = len(vit.blocks)
        self.width: int = vit.embed_dim
        self.heads: int = block.attn.num_heads
        self.prefix_tokens: int = vit.num_prefix_tokens
        self.patch: tuple[int, int] = vit.patch_embed.patch_size
        self.image_size: int = vit.patch_embed.img_size[0]

    def train(self, mode: bool = True) -> VideoViT:
        """Frozen weights stay in evaluation mode."""
        return super().train(False)

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

    Raises:
        UserError: unknown models, weights that are missing (says where to put which file) or do not fit.
    """
    build = {"embedded": _embedded, "open_clip": _open_clip, "timm": _timm}[config.source]
    return VideoViT(build(config), config)


def clip_vit(clip: dict[str, Any], image_size: int | None = None) -> VisionTransformer:
    """timm's ViT with the architecture of an open_clip model config, weights fresh."""
    vision = clip["vision_cfg"]
    if "timm_model_name" in vision or not isinstance(vision.get("layers"), int):
        raise UserError("This open_clip model's image tower is not a plain ViT; choose a ViT-* model.")
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
            act_layer=get_act_layer("quick_gelu" if clip.get("quick_gelu") else "gelu"),
        )


def _embedded(config: BackboneConfig) -> VisionTransformer:
    from petl_bench.weights import load_embedded_state, weights_file

    shipped = config.weights in (None, "random")
    state, clip = load_embedded_state(weights_file(config.model) if shipped else Path(str(config.weights)))
    vit = clip_vit(clip, config.image_size)
    if config.weights != "random":
        _load_clip_state(vit, state, config)
    return vit


def _open_clip(config: BackboneConfig) -> VisionTransformer:
    import open_clip

    clip = open_clip.get_model_config(config.model)
    if clip is None:
        from petl_bench.errors import unknown_name

        raise unknown_name("open_clip model", config.model, open_clip.list_models())
    vit = clip_vit(clip, config.image_size)
    if config.weights == "random":
        return vit
    if config.weights in open_clip.list_pretrained_tags_by_model(config.model):
        try:
            model = open_clip.create_model(config.model, pretrained=config.weights)
        except Exception as error:  # the hub client raises many kinds when offline
            raise UserError(
                f"Backbone {config.name!r}: the weights {config.weights!r} of {config.model} could not be fetched "
                f"({type(error).__name__}). On a machine without network, copy the file there and name it: "
                "--set backbone.weights=FILE (.pt or .safetensors)."
            ) from None
        state = model.state_dict()
    else:
        state = read_weights(config.weights, config.name)
    _load_clip_state(vit, state, config)
    return vit


def _timm(config: BackboneConfig) -> VisionTransformer:
    if config.weights is None:
        raise UserError(f"Backbone {config.name!r}: say --set backbone.weights=timm, =random or =FILE.")
    file = config.weights if config.weights not in ("timm", "random") else None
    size = {"img_size": config.image_size} if config.image_size else {}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            vit = create_model(
                config.model,
                pretrained=config.weights == "timm",
                num_classes=0,
                dynamic_img_size=True,
                **size,
            )
    except Exception as error:  # timm raises RuntimeError for unknown names, the hub client many kinds
        raise UserError(
            f"Backbone {config.name!r}: timm could not make {config.model!r} ({error}). Offline, name a local file: "
            "--set backbone.weights=FILE, or use --set backbone.weights=random."
        ) from None
    if not isinstance(vit, VisionTransformer):
        raise UserError(f"Backbone {config.name!r}: {config.model} is a {type(vit).__name__}, not a ViT.")
    if file:
        state = checkpoint_filter_fn(read_weights(file, config.name), vit)
        _strict_load(vit, {k: v for k, v in state.items() if not k.startswith("head.")}, config)
    return vit


def read_weights(file: str | None, backbone: str) -> dict[str, Tensor]:
    """A state dict from .safetensors, a .pt of tensors, or OpenAI's TorchScript archive.

    Pickled code is never run: `weights_only` for plain files; archives are opened by torch.jit alone.
    """
    if file is None or not Path(file).is_file():
        raise UserError(
            f"Backbone {backbone!r}: no weights at {file!r}. Give a file with --set backbone.weights=FILE."
        )
    try:
        if file.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(file)
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except RuntimeError:  # what torch.load raises for TorchScript archives
            state = torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise UserError(f"Backbone {backbone!r}: {file} is not a readable weights file: {error}") from None
    state = state.get("state_dict", state)
    return {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}


def _load_clip_state(vit: VisionTransformer, state: dict[str, Tensor], config: BackboneConfig) -> None:
    tower = {k: v.float() for k, v in state.items() if k.startswith("visual.") and k != "visual.proj"}
    if not tower:
        raise UserError(f"Backbone {config.name!r}: the weights hold no image tower (no 'visual.*' entries).")
    _strict_load(vit, checkpoint_filter_fn(tower, vit), config)


def _strict_load(vit: VisionTransformer, state: dict[str, Tensor], config: BackboneConfig) -> None:
    try:
        result = vit.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"Backbone {config.name!r}: the weights do not fit {config.model}: {error}") from None
    if result.missing_keys or result.unexpected_keys:
        raise UserError(
            f"Backbone {config.name!r}: the weights do not fit {config.model}. "
            f"Missing: {result.missing_keys[:5] or 'none'}; not known: {result.unexpected_keys[:5] or 'none'}."
        )
