"""What a pretrained CLIP knows of fresh stills: zero-shot attributes and retrieval."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, Final

import torch

from petl_bench.pretrain.captions import caption_tokens, cell, orientation
from petl_bench.pretrain.config import PretrainConfig
from petl_bench.pretrain.stills import Stills, draw_stills, sample_stills, visible_share
from petl_bench.pretrain.vocabulary import COLUMNS, ORIENTATIONS, ROWS, encode
from petl_bench.synth import palette

_PROMPTS: Final = ("a larger {}", "larger {} and a smaller thing")
ATTRIBUTES: Final = ("shape", "colour", "orientation", "place")


@functools.lru_cache(maxsize=8)
def _channels(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    # cached: copying three numbers in every step would make the host wait for the device
    return torch.tensor(values, device=device)[:, None, None]


def normalised(image: torch.Tensor, config: PretrainConfig) -> torch.Tensor:
    """Pixels in [0, 1] as the model's input."""
    mean, std = _channels(config.mean, image.device), _channels(config.std, image.device)
    return (image - mean) / std


@torch.no_grad()
def class_embeddings(model: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Text embeddings of attributes of the larger object, ensembled over the other attributes.

    Returns:
        each of `ATTRIBUTES` -> (names, D), rows of length 1; the nine places row by row from the top left.
    """
    places = [f"{row} {column}" for row in ROWS for column in COLUMNS]
    choices = (palette.COLOURS, palette.SHAPES, ORIENTATIONS, places)  # in the order of a caption's words
    names = [" ".join(words) for words in itertools.product(*choices)]
    total: torch.Tensor | float = 0.0
    for prompt in _PROMPTS:
        tokens = torch.tensor([encode(prompt.format(name)) for name in names], device=device)
        total = total + model.encode_text(tokens, normalize=True).float()
    assert isinstance(total, torch.Tensor)
    grid = total.reshape(*(len(choice) for choice in choices), -1)
    axes = {"colour": (1, 2, 3), "shape": (0, 2, 3), "orientation": (0, 1, 3), "place": (0, 1, 2)}
    return {name: torch.nn.functional.normalize(grid.mean(axes[name]), dim=-1) for name in ATTRIBUTES}


@torch.no_grad()
def evaluate(
    model: Any, config: PretrainConfig, stream: Callable[[int], torch.Generator]
) -> dict[str, float | int]:
    """Score a model on stills that it was not trained on.

    Args:
        model: in eval mode, on its device.
        config: decides counts and resolution.
        stream: batch number -> generator of fresh stills, on the model's device.

    Returns:
        percent correct of each of `ATTRIBUTES` (of larger objects that are not hidden) and their chance
        levels, `retrieval` (R@1, image to text, among `config.retrieval`), counts.
    """
    device = next(model.parameters()).device
    classes = class_embeddings(model, device)
    right = dict.fromkeys(classes, 0.0)
    seen, hits, asked = 0, 0.0, 0
    chunk = config.retrieval
    for number in range(max(1, config.held_out // chunk)):
        generator = stream(number)
        stills = sample_stills(generator, chunk)
        tokens = caption_tokens(stills, generator, keep=config.keep)
        image = normalised(draw_stills(stills, config.image.image_size, generator), config)
        features = model.encode_image(image, normalize=True).float()
        texts = model.encode_text(tokens, normalize=True).float()
        hits += float((features @ texts.T).argmax(1).eq(torch.arange(chunk, device=device)).sum())
        asked += chunk
        truth, clear = _larger(stills)
        seen += int(clear.sum())
        for name, embeddings in classes.items():
            right[name] += float(((features @ embeddings.T).argmax(1).eq(truth[name]) & clear).sum())
    scores: dict[str, float | int] = {name: 100 * right[name] / max(seen, 1) for name in classes}
    chance = {f"{name}_chance": 100 / len(rows) for name, rows in classes.items()}
    return {**scores, **chance, "retrieval": 100 * hits / asked, "stills": asked, "clear_stills": seen}


def _larger(stills: Stills) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Attributes of the larger objects, and which of these can be seen."""
    row = torch.arange(len(stills.scene), device=stills.larger.device)
    which = stills.larger
    place = cell(stills)[row, which]
    truth = {
        "shape": stills.scene.shape[row, which],
        "colour": stills.colour_name[row, which],
        "orientation": orientation(stills)[row, which],
        "place": place[:, 0] * 3 + place[:, 1],
    }
    clear = (visible_share(stills)[row, which] > 0.7) & (stills.scene.opacity[row, which] > 0.5)
    return truth, clear
