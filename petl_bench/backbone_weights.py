"""Weights of backbones: files read without running Python code of theirs, and fitted to a ViT with nothing left over.

timm's converter (`checkpoint_filter_fn`) renames open_clip's entries and interpolates position embeddings of another
grid: bicubic, antialiased. It would also resample patches and leave a wrong activation unseen: both are errors here.
"""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from petl_bench.backbone_releases import Activation, has_published_sha256, release_of
from petl_bench.config import BackboneConfig
from petl_bench.errors import UserError

OPENAI_ENTRIES = {"input_resolution", "context_length", "vocab_size"}


@dataclass(frozen=True)
class Weights:
    """The tensors of a file, and what it says of its activation.

    Attributes:
        origin: the file, or what else to call it in messages.
        activation: what the weights were trained with; None where the file does not say it.
        told_by: how that is known.
    """

    origin: str
    state: dict[str, Tensor]
    activation: Activation | None = None
    told_by: str = ""


def read_weights(file: str, backbone: str, *, named: bool = True) -> Weights:
    """The weights in a .safetensors file, a .pt or .bin of tensors, or OpenAI's TorchScript archive.

    Python code pickled in a file never runs: `weights_only` for plain files; archives are opened by torch.jit, which
    compiles the TorchScript in them.

    Args:
        file: where it is.
        backbone: its name, for messages.
        named: the user named the file. TorchScript of any other file is opened only if its sha256 is published.

    Raises:
        UserError: no such file, or not one of these.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(
            f"Backbone {backbone!r}: no weights at {file!r}. Give a file with --set backbone.weights=FILE."
        )
    try:
        archive = _is_torchscript(path)
        if archive and not named and not has_published_sha256(path):
            raise UserError(
                f"Backbone {backbone!r}: {path} is a TorchScript archive without a published sha256: it is not opened "
                "unasked. If you trust it, name it: --set backbone.weights=FILE."
            )
        weights = _read_torchscript(path) if archive else Weights(str(path), _read_tensors(path))
    except UserError:
        raise
    except Exception as error:  # pickle, zip, safetensors and torch each have their own kinds
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            reason = "it holds more than tensors, and reading that would run code. Save its state dict alone"
        else:
            reason = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
            )
        raise UserError(f"Backbone {backbone!r}: {path} is not a readable weights file: {reason}.") from None
    if weights.activation is None and (release := release_of(path)):
        return Weights(str(path), weights.state, release.activation, f"its sha256 is that of {release}")
    return weights


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


def _read_torchscript(path: Path) -> Weights:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # torch.jit is deprecated, and OpenAI's files are what they are
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    state = _tensors(module.state_dict())
    classes = {m.original_name for m in module.modules()}
    if "QuickGELU" in classes:
        return Weights(str(path), state, "quick_gelu", "the archive's own modules")
    if "GELU" in classes:
        return Weights(str(path), state, "gelu", "the archive's own modules")
    if state.keys() >= OPENAI_ENTRIES:
        return Weights(str(path), state, "quick_gelu", "it is an archive of OpenAI's release")
    return Weights(str(path), state)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return _tensors(load_file(path))
    data = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}, not a state dict")
    for key in ("state_dict", "model"):  # checkpoints of trainings
        if isinstance(data.get(key), dict):
            data = data[key]
    return _tensors(data)


def _tensors(state: dict[str, object]) -> dict[str, Tensor]:
    return {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}


def check_activation(config: BackboneConfig, model: str, weights: Weights, needed: bool = True) -> None:
    """The model's activation must be the one that the weights were trained with.

    A ViT runs with the wrong one, only worse: nothing else would tell. `needed`: not to know it is an error too.

    Raises:
        UserError: they differ, or the file does not say and the config does not either.
    """
    declared = config.activation
    if weights.activation and declared and weights.activation != declared:
        raise UserError(
            f"Backbone {config.name!r}: activation is declared as {declared}, but {weights.origin} was trained with "
            f"{weights.activation} ({weights.told_by})."
        )
    trained = weights.activation or declared
    if trained is None:
        if not needed:
            return
        raise UserError(
            f"Backbone {config.name!r}: {weights.origin} does not say which activation it was trained with, and the "
            "wrong one costs accuracy without a sign. Say it: --set backbone.activation=quick_gelu (OpenAI, MetaCLIP, "
            "DFN) or --set backbone.activation=gelu (most of LAION and DataComp). "
            f"{config.model} has {model}."
        )
    if trained != model:
        told = f" ({weights.told_by})" if weights.activation else " (backbone.activation)"
        raise UserError(
            f"Backbone {config.name!r}: {weights.origin} was trained with {trained}{told}, but {config.model} has "
            f"{model}. Use {_with_activation(config, trained)}."
        )


def _with_activation(config: BackboneConfig, activation: Activation) -> str:
    plain = config.model.removesuffix("-quickgelu").replace("_clip_quickgelu_", "_clip_")
    if activation == "gelu":
        name = plain
    elif config.source == "timm":
        name = plain.replace("_clip_", "_clip_quickgelu_")
    else:
        name = f"{plain}-quickgelu"
    return f"--set backbone.model={name}"


def fit_clip(vit: VisionTransformer, weights: Weights, config: BackboneConfig) -> None:
    """Load the image tower of a CLIP in open_clip's or OpenAI's names, any float type, without its projection.

    Raises:
        UserError: no image tower, another architecture, or another image size that was not asked for.
    """
    state = {k: v.float() for k, v in weights.state.items() if k.startswith("visual.") and k != "visual.proj"}
    if "visual.class_embedding" not in state:
        if any(k.startswith("vision_model.") for k in weights.state):
            hint = "These are the names of Hugging Face's transformers: take open_clip's or OpenAI's file instead."
        elif "patch_embed.proj.weight" in weights.state:
            hint = "These are timm's names: choose a backbone with source: timm."
        else:
            hint = f"Found: {_some(weights.state)}."
        raise UserError(
            f"Backbone {config.name!r}: {weights.origin} holds no image tower of CLIP ('visual.class_embedding' and "
            f"others do not fit {config.model}). {hint}"
        )
    _check_grid(
        vit, state.get("visual.conv1.weight"), state.get("visual.positional_embedding"), weights, config
    )
    _load(vit, checkpoint_filter_fn(state, vit), weights, config)


def fit_timm(vit: VisionTransformer, weights: Weights, config: BackboneConfig, classifier: str) -> None:
    """Load a ViT in timm's names, or in those that timm's converter knows, without its classifier.

    Raises:
        UserError: another architecture, or another image size that was not asked for.
    """
    if "visual.class_embedding" in weights.state:
        return fit_clip(vit, weights, config)
    state = weights.state
    position = state.get("pos_embed")
    _check_grid(
        vit, state.get("patch_embed.proj.weight"), None if position is None else position[0], weights, config
    )
    # FlexiViT and RADIO were trained with position embeddings that are interpolated otherwise (timm does the same)
    plain = any(name in config.model for name in ("flexi", "radio"))
    how = {"interpolation": "bilinear", "antialias": False} if plain else {}
    converted = checkpoint_filter_fn(dict(state), vit, **how)
    kept = {k: v for k, v in converted.items() if not k.startswith(f"{classifier}.")}
    return _load(vit, kept, weights, config)


def _check_grid(
    vit: VisionTransformer,
    patch: Tensor | None,
    position: Tensor | None,
    weights: Weights,
    config: BackboneConfig,
) -> None:
    size = tuple(vit.patch_embed.patch_size)
    if patch is not None and patch.ndim == 4 and tuple(patch.shape[-2:]) != size:
        raise UserError(
            f"Backbone {config.name!r}: {weights.origin} does not fit {config.model}: its patches are "
            f"{patch.shape[-2]}x{patch.shape[-1]} pixels, the model's {size[0]}x{size[1]}."
        )
    if position is None or vit.pos_embed is None:
        return
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    theirs, ours = len(position) - prefix, vit.pos_embed.shape[1] - prefix
    side = math.isqrt(max(theirs, 0))
    if config.image_size is None and theirs != ours:
        h, w = vit.patch_embed.grid_size
        sizes = f"; weights of {side * size[0]} pixels?" if side * side == theirs else ""
        raise UserError(
            f"Backbone {config.name!r}: {weights.origin} has position embeddings for {theirs} patches{sizes}. "
            f"{config.model} has {h}x{w} patches at {vit.patch_embed.img_size[0]} pixels. To interpolate them, say "
            f"the size: --set backbone.image_size={vit.patch_embed.img_size[0]}; or choose the model of the file."
        )
    if side * side != theirs:
        raise UserError(
            f"Backbone {config.name!r}: the position embeddings of {weights.origin} are of {theirs} patches, no square "
            "grid: they cannot be interpolated."
        )


def _load(vit: VisionTransformer, state: dict[str, Tensor], weights: Weights, config: BackboneConfig) -> None:
    own = vit.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    misfit = [
        f"{k} {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} in the model"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or unknown or misfit:
        raise UserError(
            f"Backbone {config.name!r}: {weights.origin} does not fit {config.model} (entries by timm's names).\n"
            f"  missing: {_some(missing)}\n  not known: {_some(unknown)}\n  other shape: {_some(misfit)}"
        )
    vit.load_state_dict(state)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "none"
