"""Where backbones come from: the embedded tiny CLIP, open_clip, timm. Each builds, finds weights and checks them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm import create_model, list_models, list_pretrained
from timm.layers.activations import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from petl_bench.backbone import CLIP_MEAN, CLIP_STD, RANDOM_SEED, VideoViT, clip_activation, clip_vit
from petl_bench.backbone_releases import Activation, hub_places, obtain, open_clip_release
from petl_bench.backbone_weights import Weights, check_activation, fit_clip, fit_timm, read_weights
from petl_bench.config import BackboneConfig
from petl_bench.errors import UserError, unknown_name

TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


def _embedded(config: BackboneConfig) -> VideoViT:
    from petl_bench.weights import load_embedded_state, weights_file

    shipped = config.weights in (None, "random")
    path = weights_file(config.model) if shipped else Path(str(config.weights))
    state, clip = load_embedded_state(path)
    backbone = VideoViT(clip_vit(clip, config.image_size), _normalised(config, CLIP_MEAN, CLIP_STD))
    activation = clip_activation(clip)
    weights = Weights(str(path), state, activation, "its header")
    check_activation(config, activation, weights)
    if config.weights != "random":
        fit_clip(backbone.vit, weights, config)
    return backbone


def _open_clip(config: BackboneConfig) -> VideoViT:
    import open_clip

    clip = open_clip.get_model_config(config.model)
    if clip is None:
        known = [name for name in open_clip.list_models() if name.startswith("ViT-")]
        raise unknown_name("open_clip model", config.model, known)
    activation = clip_activation(clip)
    release = open_clip_release(config.model, config.weights or "")
    mean, std = (release.mean, release.std) if release else (CLIP_MEAN, CLIP_STD)
    # what can be known to be wrong is said before gigabytes are fetched and a network is built
    if release:
        told = Weights(str(release), {}, release.activation, "open_clip's list of weights")
        check_activation(config, activation, told)
    elif config.weights is None or not (
        config.weights == "random" or Path(config.weights).expanduser().is_file()
    ):
        tags = open_clip.list_pretrained_tags_by_model(config.model)
        raise UserError(
            f"Backbone {config.name!r}: {config.weights!r} is no file here and no tag of {config.model}. "
            f"Tags: {', '.join(tags) or 'none'}. Choose one, or name a file: --set backbone.weights=FILE."
        )
    file = config.weights
    if release:
        hint = f" --set backbone.activation={release.activation}"
        file = str(obtain(release.places, config.name, f"the weights {release}", hint))
    backbone = VideoViT(clip_vit(clip, config.image_size), _normalised(config, mean, std))
    if config.weights == "random":
        return backbone
    weights = read_weights(str(file), config.name, named=release is None)
    if release and weights.activation is None:
        weights = replace(weights, activation=told.activation, told_by=told.told_by)
    check_activation(config, activation, weights)
    fit_clip(backbone.vit, weights, config)
    return backbone


def _timm(config: BackboneConfig) -> VideoViT:
    if config.weights is None:
        raise UserError(f"Backbone {config.name!r}: say --set backbone.weights=timm, =random or =FILE.")
    architecture = config.model.partition(".")[0]
    if architecture not in list_models():
        near = difflib.get_close_matches(architecture, list_models("vit_*"), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        raise UserError(f"Unknown timm model {config.model!r}.{hint} `timm.list_models('vit_*')` lists all.")
    size = {"img_size": config.image_size} if config.image_size else {}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            vit = create_model(config.model, num_classes=0, dynamic_img_size=True, **size)
    except TypeError:
        raise UserError(
            f"Backbone {config.name!r}: {config.model} is no plain ViT. `timm.list_models('vit_*')` lists them."
        ) from None
    except Exception as error:  # an unknown tag is a RuntimeError, a size that does not fit anything
        raise UserError(f"Backbone {config.name!r}: timm cannot make {config.model!r}: {error}") from None
    if not isinstance(vit, VisionTransformer):
        raise UserError(f"Backbone {config.name!r}: {config.model} is a {type(vit).__name__}, not a ViT.")
    known: dict[str, Any] = vit.pretrained_cfg
    backbone = VideoViT(vit, _normalised(config, known["mean"], known["std"]))
    if config.weights == "random":
        return backbone
    activation = _activation_of(vit)
    is_clip = "_clip_" in config.model
    if config.weights == "timm":
        told = Weights(config.model, {}, _trained_with(config.model), "timm's list of weights")
        check_activation(config, activation, told, needed=False)
        places = hub_places(known.get("hf_hub_id") or "", _timm_files(known))
        if not places:
            raise UserError(
                f"Backbone {config.name!r}: timm has no weights of {config.model!r}. Name a file with --set "
                f"backbone.weights=FILE, or choose one with weights: {_pretrained(architecture)}."
            )
        hint = f" --set backbone.activation={told.activation}" if is_clip else ""
        file = str(obtain(places, config.name, f"the weights of {config.model}", hint))
        weights = read_weights(file, config.name, named=False)
        weights = replace(weights, activation=told.activation, told_by=told.told_by)
    else:
        weights = read_weights(config.weights, config.name)
        check_activation(config, activation, weights, needed=is_clip)
    fit_timm(vit, weights, config, known.get("classifier") or "head")
    return backbone


SOURCES: dict[str, Callable[[BackboneConfig], VideoViT]] = {
    "embedded": _embedded,
    "open_clip": _open_clip,
    "timm": _timm,
}


def _normalised(config: BackboneConfig, mean: Any, std: Any) -> BackboneConfig:
    return config.model_copy(update={"mean": config.mean or tuple(mean), "std": config.std or tuple(std)})


def _activation_of(vit: VisionTransformer) -> str:
    act = getattr(vit.blocks[0].mlp, "act", None)
    if isinstance(act, QuickGELU):
        return "quick_gelu"
    return "gelu" if isinstance(act, nn.GELU) else type(act).__name__


def _timm_files(known: dict[str, Any]) -> tuple[str, ...]:
    return (known["hf_hub_filename"],) if known.get("hf_hub_filename") else TIMM_FILES


def _trained_with(model: str) -> Activation | None:
    # timm lists CLIP weights that were trained with QuickGELU under both architectures
    if "_clip_quickgelu_" in model:
        return "quick_gelu"
    if "_clip_" not in model:
        return None
    twin = model.replace("_clip_", "_clip_quickgelu_")
    return "quick_gelu" if twin in list_pretrained("vit_*clip_quickgelu*") else "gelu"


def _pretrained(architecture: str) -> str:
    return ", ".join(list_pretrained(f"{architecture}.*")) or "none of this architecture"
