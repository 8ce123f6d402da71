"""Tiny CLIPs of open_clip's own classes with random weights, in the formats of releases."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import open_clip
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from torch import Tensor, nn

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1}


def add_tiny_models(folder: Path) -> None:
    """Make "ViT-tiny" and "ViT-tiny-quickgelu" known to open_clip."""
    for name, quick in (("ViT-tiny", False), ("ViT-tiny-quickgelu", True)):
        config = {"embed_dim": 16, "quick_gelu": quick, "vision_cfg": VISION, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")


def tiny_clip(quick_gelu: bool = True, **vision: int) -> CLIP:
    torch.manual_seed(0)
    sizes = CLIPVisionCfg(**{**VISION, **vision})
    model = CLIP(16, sizes, CLIPTextCfg(**TEXT), quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((p + 0.1 * torch.randn_like(p)).half())  # as released: half precision loses nothing
    return model


@torch.no_grad()
def tower_features(model: CLIP, pixels: Tensor) -> Tensor:
    """open_clip's image features before CLIP's projection: what a head stands on."""
    proj, model.visual.proj = model.visual.proj, None
    try:
        return model.visual(pixels)  # type: ignore[no-any-return]
    finally:
        model.visual.proj = proj


def save_openai_archive(model: CLIP, file: Path) -> None:
    """A TorchScript archive in half precision with OpenAI's three entries beside the weights."""
    model = copy.deepcopy(model)
    size, words = model.visual.image_size[0], model.positional_embedding.shape[0]
    numbers = {"input_resolution": size, "context_length": words, "vocab_size": model.vocab_size}
    for name, value in numbers.items():
        vars(model).pop(name, None)  # open_clip keeps plain numbers
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; tracing warns of constants
        inputs = (torch.zeros(1, 3, size, size), torch.zeros(1, words, dtype=torch.long))
        torch.jit.trace(model, inputs, check_trace=False).half().save(str(file))


class _Nameless(nn.Module):
    """The same entries in modules without the names of open_clip's classes."""

    def __init__(self, entries: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in entries.items():
            place: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_buffer(last, value)

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_nameless_archive(entries: dict[str, Tensor], file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(_Nameless(entries), torch.zeros(1)), str(file))


def save_as(model: CLIP, file: Path) -> Path:
    """The model in the format of the file's name: openai.pt, plain.pt, training.pt, .bin or .safetensors."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if file.stem == "openai":
        save_openai_archive(model, file)
    elif file.stem == "training":  # a checkpoint of a distributed training
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    elif file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file
