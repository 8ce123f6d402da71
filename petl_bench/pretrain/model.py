"""The model: open_clip's own CLIP class, small, with sin-cos positions."""

from __future__ import annotations

from typing import Any

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from petl_bench.pretrain.config import PretrainConfig


def sincos_2d(side: int, width: int, temperature: float = 10_000.0) -> torch.Tensor:
    """Sine and cosine positions of a square of patches: (side * side, width), a quarter of the width each
    for sine and cosine of rows and columns.

    Source: Vaswani et al. 2017, in two dimensions as in MoCo v3 (Chen et al. 2021).
    """
    quarter = width // 4
    omega = temperature ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    place = torch.arange(side, dtype=torch.float64)
    row = place.repeat_interleave(side)[:, None] * omega
    column = place.repeat(side)[:, None] * omega
    return torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], 1).float()


def build_clip(config: dict[str, Any]) -> Any:
    """open_clip's CLIP of a model config (`PretrainConfig.open_clip_config`), with open_clip's own init."""
    return CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=CLIPVisionCfg(**config["vision_cfg"]),
        text_cfg=CLIPTextCfg(**config["text_cfg"]),
        quick_gelu=config["quick_gelu"],
    )


def new_clip(config: PretrainConfig) -> Any:
    """A fresh model on the CPU. Decided by the config's seed; leaves global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_clip(config.open_clip_config())
    side = config.image.image_size // config.image.patch_size
    with torch.no_grad():
        # positions that start as a grid: with small random ones, place was hardly learned
        positions = model.visual.positional_embedding
        positions[0].zero_()
        positions[1:] = config.position_scale * sincos_2d(
            side, config.image.width, config.position_temperature
        )
    return model


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters for AdamW: decay on matrices only, not on positions, norms, biases or the temperature."""
    decayed: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2 and "positional" not in name
        (decayed if matrix else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
