"""ST-Adapter against a naive loop and against torch.nn.Conv3d; its size and its start."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from petl_bench.backbone import ClipShape
from petl_bench.methods.st_adapter import SpaceTimeBottleneck


def filled(width: int, bottleneck: int, kernel: tuple[int, int, int]) -> SpaceTimeBottleneck:
    module = SpaceTimeBottleneck(width, bottleneck, kernel, "conv").double()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype))
    return module


def naive(module: SpaceTimeBottleneck, x: Tensor, shape: ClipShape) -> Tensor:
    """X + DWConv3D(X W_down) W_up, one output number at a time, zeros beyond the borders."""
    B, T, N, (h, w) = shape.B, shape.T, shape.N, shape.grid
    out = x.clone()
    kt, kh, kw = module.conv.kernel_size
    weight = module.conv.weight[:, 0]  # (bottleneck, kt, kh, kw)
    tokens = x[:, -N:].reshape(B, T, h, w, -1)
    low = tokens @ module.down.weight.T + module.down.bias
    for b, t, i, j in itertools.product(range(B), range(T), range(h), range(w)):
        total = module.conv.bias.clone()
        for dt, di, dj in itertools.product(range(kt), range(kh), range(kw)):
            tt, ii, jj = t + dt - kt // 2, i + di - kh // 2, j + dj - kw // 2
            if 0 <= tt < T and 0 <= ii < h and 0 <= jj < w:
                total = total + weight[:, dt, di, dj] * low[b, tt, ii, jj]
        out[b * T + t, x.shape[1] - N + i * w + j] += module.up.weight @ total + module.up.bias
    return out


@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3), (3, 3, 3), (5, 1, 3)])
@pytest.mark.parametrize("T", [1, 2, 5])
@torch.no_grad()
def test_equals_naive_loop(kernel: tuple[int, int, int], T: int) -> None:
    module = filled(6, 4, kernel)
    shape = ClipShape(2, T, (3, 2), 1)
    x = torch.randn(2 * T, 1 + 2 + 6, 6, dtype=torch.double)  # a class token, two prompts, 3 x 2 patches
    torch.testing.assert_close(module(x, shape), naive(module, x, shape))


@torch.no_grad()
def test_equals_conv3d_on_a_video_tensor() -> None:
    module = filled(6, 4, (3, 1, 1))
    conv = nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), groups=4).double()
    conv.load_state_dict(module.conv.state_dict())
    video = torch.randn(2, 6, 5, 3, 2, dtype=torch.double)  # (B, D, T, h, w)
    low = torch.einsum("bdthw,cd->bcthw", video, module.down.weight) + module.down.bias.view(1, -1, 1, 1, 1)
    high = torch.einsum("bcthw,dc->bdthw", conv(low), module.up.weight) + module.up.bias.view(1, -1, 1, 1, 1)
    tokens = video.permute(0, 2, 3, 4, 1).reshape(10, 6, 6)
    expected = (video + high).permute(0, 2, 3, 4, 1).reshape(10, 6, 6)
    torch.testing.assert_close(module(tokens, ClipShape(2, 5, (3, 2), 0)), expected)


@torch.no_grad()
def test_class_tokens_are_left_alone() -> None:
    module = filled(6, 4, (3, 1, 1))
    x = torch.randn(4, 1 + 6, 6, dtype=torch.double)
    y = module(x, ClipShape(1, 4, (3, 2), 1))
    assert torch.equal(y[:, 0], x[:, 0])
    assert not torch.equal(y[:, 1:], x[:, 1:])


def test_published_size_and_start() -> None:
    module = SpaceTimeBottleneck(768, 384, (3, 1, 1), "conv")
    assert sum(p.numel() for p in module.parameters()) == 592_512
    zero = {n for n, p in module.named_parameters() if not p.any()}
    assert zero == {"down.bias", "conv.weight", "conv.bias", "up.bias"}
