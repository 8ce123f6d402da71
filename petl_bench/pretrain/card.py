"""The files that a finished pretraining leaves: weights, model card, picture of the loss."""

from __future__ import annotations

import hashlib
import io
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

import petl_bench
from petl_bench.pretrain.config import PretrainConfig
from petl_bench.pretrain.evaluate import ATTRIBUTES
from petl_bench.results import write_atomic
from petl_bench.synth.renderer import RENDERER_VERSION
from petl_bench.weights import HEADER

DATA = (
    "Stills drawn at random by petl-bench's own renderer (two objects, coloured backgrounds, at times "
    "panels), captioned by a program from the scene's attributes. No photograph, no video, no text of "
    "people, and no label of a synth_motion or synth_appearance class was used."
)


def write_outputs(
    config: PretrainConfig,
    out: Path,
    model: torch.nn.Module,
    device: torch.device,
    log: Sequence[Mapping[str, float]],
    seconds: float,
    scores: Mapping[str, float | int],
) -> list[Path]:
    """Write NAME.safetensors (fp16, open_clip's layout), NAME_loss.png and NAME.md into `out`."""
    state = {key: value.detach().half().cpu().contiguous() for key, value in model.state_dict().items()}
    header = {
        "model_config": config.open_clip_config(),
        "petl_bench": petl_bench.__version__,
        "renderer": RENDERER_VERSION,
        "data": DATA,
        "seed": config.seed,
        "mean": config.mean,
        "std": config.std,
    }
    weights = out / f"{config.name}.safetensors"
    picture, card = out / f"{config.name}_loss.png", out / f"{config.name}.md"
    # one entry: several would be written in an order that changes from run to run, and so would the hash
    data = safetensors.torch.save(state, metadata={HEADER: json.dumps(header)})
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"
    parameters = sum(p.numel() for p in model.parameters())
    vision = sum(p.numel() for n, p in model.named_parameters() if n.startswith("visual."))
    facts = {
        "device": name if device.type == "cuda" else f"{name}, {torch.get_num_threads()} thread(s)",
        "seconds": seconds,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": parameters,
        "vision": vision,
    }
    write_atomic(picture, _picture(log))
    write_atomic(card, _card(config, facts, log, scores, picture.name))
    write_atomic(weights, data)  # last: its presence says that the pretraining is finished
    return [weights, card, picture]


def _picture(log: Sequence[Mapping[str, float]]) -> bytes:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([line["step"] for line in log], [line["loss"] for line in log], linewidth=1.2)
    axes.set(xlabel="step", ylabel="contrastive loss", yscale="log")
    axes.grid(alpha=0.3, which="both")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _card(
    config: PretrainConfig,
    facts: Mapping[str, Any],
    log: Sequence[Mapping[str, float]],
    scores: Mapping[str, float | int],
    picture: str,
) -> str:
    shown = [log[round(k * (len(log) - 1) / max(1, min(9, len(log) - 1)))] for k in range(min(10, len(log)))]
    curve = "\n".join(f"| {int(line['step'])} | {line['loss']:.3f} | {line['lr']:.2e} |" for line in shown)
    accuracies = "\n".join(
        f"| {name} of the larger object | {scores[name]:.1f} % | {scores[f'{name}_chance']:.1f} % |"
        for name in ATTRIBUTES
    )
    side = config.image.image_size // config.image.patch_size
    recipe = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return f"""# {config.name}

A miniature CLIP for petl-bench's embedded benchmark. It teaches and tests; it is no stand-in for a model
trained on photographs, and knows nothing of the real world.

| | |
|---|---|
| image tower | ViT {config.image.image_size}/{config.image.patch_size}: {side * side + 1} tokens, width \
{config.image.width}, {config.image.layers} blocks, {facts["vision"]:,} parameters |
| text tower | width {config.text.width}, {config.text.layers} blocks |
| parameters | {facts["parameters"]:,} |
| file | {config.name}.safetensors, fp16, open_clip's state-dict layout, {facts["bytes"]:,} bytes |
| sha256 | `{facts["sha256"]}` |
| trained on | {facts["device"]}, {facts["seconds"]:.0f} s for training, rendering included |
| stills seen | {config.steps * config.batch_size:,}, none of them twice |
| software | petl-bench {petl_bench.__version__}, renderer {RENDERER_VERSION}, torch {torch.__version__} |

## Data
{DATA}

## What it knows
Zero-shot on {scores["stills"]:,} fresh stills ({scores["clear_stills"]:,} of them with the larger object
in clear view, which all rows but the last count), prompts ensembled over the other attributes.

| | correct | chance |
|---|---|---|
{accuracies}
| the caption of a still, among {config.retrieval:,} (R@1) | {scores["retrieval"]:.1f} % \
| {100 / config.retrieval:.1f} % |

## Loss
![loss]({picture})

| step | loss | learning rate |
|---|---|---|
{curve}

## Recipe
```yaml
{recipe}```
"""
