"""A ViT over the frames of a clip in numpy, float64: loops over frames, tokens and heads, none of the package's code.

Weights are read by the names that timm gives them. A frame is an array (tokens, D); a clip is a list of frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Frames = list[Array]
Weights = Mapping[str, Array]
Linear = Callable[[str, Array], Array]  # name of a layer of the block, a token -> what it makes of it


@dataclass(frozen=True)
class Shape:
    """Of the network: attention heads, patch side, prefix tokens, rows and columns of patches, epsilon of norms."""

    heads: int
    patch: int
    prefix: int
    grid: tuple[int, int]
    eps: float
    quick: bool = False  # QuickGELU
    pool: str = "token"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]


def under(weights: Weights, prefix: str) -> dict[str, Array]:
    """The weights below a name, without it."""
    return {name[len(prefix) :]: w for name, w in weights.items() if name.startswith(prefix)}


def layer_norm(x: Array, w: Weights, eps: float) -> Array:
    """One token; without weights it is the identity."""
    if "weight" not in w:
        return x
    mean = x.sum() / len(x)
    variance = ((x - mean) ** 2).sum() / len(x)
    return w["weight"] * (x - mean) / math.sqrt(variance + eps) + w["bias"]


def linear(x: Array, w: Weights) -> Array:
    return w["weight"] @ x + w.get("bias", 0.0)


def gelu(x: Array) -> Array:
    return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


def quick_gelu(x: Array) -> Array:
    return np.array([v / (1 + math.exp(-1.702 * v)) for v in x])


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def attend(query: Array, keys: Array, values: Array, heads: int) -> Array:
    """What one query (D,) takes from tokens (n, D), head by head."""
    size = len(query) // heads
    out = np.zeros_like(query)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = np.array([query[part] @ key[part] / math.sqrt(size) for key in keys])
        for share, value in zip(softmax(scores), values, strict=True):
            out[part] += share * value[part]
    return out


def attention(tokens: Array, heads: int, layer: Linear) -> Array:
    """Self-attention of tokens (n, D) with the layers `attn.qkv` and `attn.proj`."""
    D = tokens.shape[1]
    qkv = np.array([layer("attn.qkv", token) for token in tokens])
    q, k, v = qkv[:, :D], qkv[:, D : 2 * D], qkv[:, 2 * D :]
    return np.array([layer("attn.proj", attend(query, k, v, heads)) for query in q])


def unchanged(slot: str, frames: Frames) -> Frames:
    return frames


def run_block(
    frames: Frames,
    w: Weights,
    shape: Shape,
    at: Callable[[str, Frames], Frames] = unchanged,
    layer: Linear | None = None,
) -> Frames:
    """One block. `at(slot, frames)` is what stands in a slot; "beside_mlp" gives what is added."""

    def own(name: str, x: Array) -> Array:
        return linear(x, under(w, name + "."))

    of = layer or own
    act = quick_gelu if shape.quick else gelu
    frames = at("before_attn", at("tokens", frames))
    branch = []
    for frame in frames:
        normed = np.array([layer_norm(token, under(w, "norm1."), shape.eps) for token in frame])
        branch.append(attention(normed, shape.heads, of) * w.get("ls1.gamma", 1.0))
    frames = [a + b for a, b in zip(frames, at("after_attn", branch), strict=True)]
    frames = at("before_mlp", frames)
    branch = []
    for frame in frames:
        normed = [layer_norm(token, under(w, "norm2."), shape.eps) for token in frame]
        hidden = [act(of("mlp.fc1", token)) for token in normed]
        branch.append(np.array([of("mlp.fc2", token) for token in hidden]) * w.get("ls2.gamma", 1.0))
    branch = at("after_mlp", branch)
    beside = at("beside_mlp", frames) if "beside_mlp" in shape.extra else [np.zeros_like(f) for f in frames]
    return [a + b + c for a, b, c in zip(frames, branch, beside, strict=True)]


def embed(clip: NDArray[np.uint8], w: Weights, shape: Shape, mean: Array, std: Array) -> Frames:
    """Tokens of the frames of a clip (T, 3, H, W): class token, registers, patches row by row."""
    frames = []
    for image in clip.astype(np.float64):
        pixels = (image / 255 - mean[:, None, None]) / std[:, None, None]
        patches = []
        for row in range(shape.grid[0]):
            for column in range(shape.grid[1]):
                top, left = row * shape.patch, column * shape.patch
                piece = pixels[:, top : top + shape.patch, left : left + shape.patch]
                kernels = w["patch_embed.proj.weight"]
                patch = np.array([(kernel * piece).sum() for kernel in kernels])
                patches.append(patch + w.get("patch_embed.proj.bias", 0.0))
        first = [w[name][0, 0] for name in ("cls_token",) if name in w]
        registers = list(w["reg_token"][0]) if "reg_token" in w else []
        tokens = np.array([*first, *registers, *patches])
        position = w["pos_embed"][0]
        if len(position) == len(tokens):
            tokens = tokens + position
        else:  # of patches alone
            tokens = np.array([*tokens[: shape.prefix], *(tokens[shape.prefix :] + position)])
        frames.append(np.array([layer_norm(token, under(w, "norm_pre."), shape.eps) for token in tokens]))
    return frames


def mean_pool(frames: Frames, norm: Weights, fc_norm: Weights, shape: Shape) -> Array:
    """What enters the head: of class tokens, or of patches where the ViT was pretrained so."""
    if shape.pool == "token":
        total = sum((frame[0] for frame in frames), np.zeros(frames[0].shape[1])) / len(frames)
        return layer_norm(layer_norm(total, norm, shape.eps), fc_norm, shape.eps)
    means = []
    for frame in frames:
        patches = [layer_norm(token, norm, shape.eps) for token in frame[-shape.patches :]]
        means.append(sum(patches) / len(patches))
    return layer_norm(np.array(sum(means) / len(means)), fc_norm, shape.eps)
