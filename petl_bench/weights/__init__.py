"""The weights that are shipped with the package, and how their files are read."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from petl_bench.errors import UserError, unknown_name

HEADER = "petl_bench"
"""Entry of a file's header with what is known of the weights, as JSON: model_config, data, ..."""


def weights_file(name: str) -> Path:
    """The shipped file of a name such as "tiny_clip". Raises UserError for an unknown name."""
    folder = Path(str(resources.files("petl_bench").joinpath("weights")))
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise unknown_name("embedded weights", name, [p.stem for p in folder.glob("*.safetensors")])
    return path


def load_embedded_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file written by `petl-bench pretrain`.

    Returns:
        state: open_clip's state dict, both towers, fp32 on the CPU.
        config: open_clip's model config: embed_dim, vision_cfg, text_cfg, quick_gelu.

    Raises:
        UserError: the file is missing, damaged or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if HEADER not in metadata:
        raise UserError(f"{path} has no {HEADER!r} in its header: not written by `petl-bench pretrain`.")
    return state, json.loads(metadata[HEADER])["model_config"]
