"""Operations written for speed against their plain twins and naive loops; blocks compiled and computed again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers.activations import QuickGELU as TimmQuickGELU
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape, VideoViT, clip_vit
from petl_bench.config import BackboneConfig
from petl_bench.contract import random_clips
from petl_bench.costs import count_flops, step_memory_mb
from petl_bench.errors import UserError
from petl_bench.kernels import QuickGELU, add_to_patches, plain_kernels, set_plain, time_conv
from petl_bench.method import build, make_method
from petl_bench.registry import builtin_names

DTYPES = [torch.float64, torch.float32]


def quick_backbone() -> VideoViT:
    """A CLIP-like ViT of 3 blocks with QuickGELU and random weights."""
    vision = {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
    config = BackboneConfig(name="quick", summary="random weights", source="embedded", model="quick")
    return VideoViT(clip_vit({"embed_dim": 32, "vision_cfg": vision, "quick_gelu": True}), config)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quick_gelu(dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 12, 1001, dtype=dtype, requires_grad=True)
    grad = torch.randn(1001, dtype=dtype)
    out, twin = QuickGELU()(x), TimmQuickGELU()(x)
    torch.testing.assert_close(out, twin)
    (mine,), (its,) = (torch.autograd.grad(y, x, grad) for y in (out, twin))
    torch.testing.assert_close(mine, its)
    torch.autograd.gradcheck(QuickGELU(), torch.randn(7, dtype=torch.float64, requires_grad=True))


def naive_time_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    (B, T, N, C), K = x.shape, weight.shape[1]
    out = bias.expand(B, T, N, C).clone()
    for b, t, n, c, k in itertools.product(range(B), range(T), range(N), range(C), range(K)):
        if 0 <= t + k - K // 2 < T:
            out[b, t, n, c] += weight[c, k] * x[b, t + k - K // 2, n, c]
    return out


@pytest.mark.parametrize("T", [1, 2, 5])
@pytest.mark.parametrize("K", [1, 3, 5, 7])
def test_time_conv_equals_a_naive_loop(T: int, K: int) -> None:
    x, weight, bias = (torch.randn(s, dtype=torch.float64) for s in ((2, T, 3, 4), (4, K), (4,)))
    torch.testing.assert_close(time_conv(x, weight, bias), naive_time_conv(x, weight, bias))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("T", "K"), [(1, 3), (2, 5), (8, 3), (8, 7)])
def test_time_conv_equals_conv3d_backwards_too(dtype: torch.dtype, T: int, K: int) -> None:
    conv = nn.Conv3d(6, 6, (K, 1, 1), padding=(K // 2, 0, 0), groups=6).to(dtype)
    x = torch.randn(2, T, 4, 6, dtype=dtype, requires_grad=True)
    grad = torch.randn(2, T, 4, 6, dtype=dtype)
    assert conv.bias is not None
    out = time_conv(x, conv.weight.view(6, K), conv.bias)
    twin = conv(x.view(2, T, 2, 2, 6).permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1).reshape(2, T, 4, 6)
    torch.testing.assert_close(out, twin)
    inputs = (x, conv.weight, conv.bias)
    for mine, its in zip(
        torch.autograd.grad(out, inputs, grad), torch.autograd.grad(twin, inputs, grad), strict=True
    ):
        torch.testing.assert_close(mine, its)


def test_in_bf16_as_on_gpus() -> None:
    """No further from float64 than the twins are."""
    g = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 8, 9, 16, generator=g, dtype=torch.float64) for _ in range(2))
    weight, bias = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((16, 3), (16,)))

    def conv3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        video = x.permute(0, 3, 1, 2).unsqueeze(-1)  # (B, C, T, N, 1)
        y = F.conv3d(video, weight.view(16, 1, 3, 1, 1), bias, padding=(1, 0, 0), groups=16)
        return y.squeeze(-1).permute(0, 2, 3, 1)

    def outcome(f: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        inputs = [v.to(dtype).requires_grad_() for v in (x, weight, bias)]
        y = f(*inputs)
        return [v.double() for v in (y.detach(), *torch.autograd.grad(y, inputs, grad.to(dtype)))]

    exact = outcome(conv3d, torch.float64)
    for mine, its, right in zip(
        outcome(time_conv, torch.bfloat16), outcome(conv3d, torch.bfloat16), exact, strict=True
    ):
        assert (mine - right).abs().mean() < 2 * (its - right).abs().mean() + 1e-3
    for f in (QuickGELU(), TimmQuickGELU()):
        y = f(x.bfloat16())
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.double(), x * torch.sigmoid(1.702 * x), rtol=0.02, atol=0.02)


def test_time_conv_gradients() -> None:
    x, weight, bias = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((1, 3, 2, 2), (2, 5), (2,))
    )
    torch.autograd.gradcheck(time_conv, (x, weight, bias))


@pytest.mark.parametrize("types", [(torch.float32, torch.float32), (torch.float32, torch.bfloat16)])
def test_add_to_patches(types: tuple[torch.dtype, torch.dtype]) -> None:
    x = torch.randn(4, 7, 3, dtype=types[0], requires_grad=True)
    change = torch.randn(4, 5, 3, dtype=types[1], requires_grad=True)
    before, grad = x.detach().clone(), torch.randn(4, 7, 3)
    out, twin = add_to_patches(x, change), x + F.pad(change, (0, 0, 2, 0))
    assert torch.equal(out, twin)
    assert torch.equal(x, before)
    for mine, its in zip(
        torch.autograd.grad(out, (x, change), grad), torch.autograd.grad(twin, (x, change), grad), strict=True
    ):
        assert mine.dtype == its.dtype
        assert torch.equal(mine, its)


def gradients(model: AdaptedViT, clips: Tensor) -> list[Tensor]:
    """Of a random function of the logits, with the same dropout masks every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits = model(clips)
        loss = (logits * torch.randn(logits.shape, dtype=logits.dtype)).sum()
        return list(torch.autograd.grad(loss, list(model.parameters())))


def moved(name: str) -> AdaptedViT:
    """A method's model in float64 whose parameters are all off their starting points."""
    model = build(make_method(name), quick_backbone(), 5, frames=4).double().train()
    model.backbone.double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return model


def plain(model: AdaptedViT) -> None:
    set_plain(model, True)
    set_plain(model.backbone, True)


def checkpointing(model: AdaptedViT) -> None:
    model.checkpointing = 1.0


def checkpointing_some(model: AdaptedViT) -> None:
    model.checkpointing = 0.4


@pytest.mark.parametrize("change", [plain, checkpointing, checkpointing_some])
@pytest.mark.parametrize("name", builtin_names())
def test_every_method_has_the_same_gradients(name: str, change: Callable[[AdaptedViT], None]) -> None:
    model = moved(name)
    clips = random_clips(model.backbone)
    fast = gradients(model, clips)
    change(model)
    for mine, its in zip(fast, gradients(model, clips), strict=True):
        torch.testing.assert_close(mine, its)


def test_less_is_kept_for_the_backward_pass() -> None:
    model = build(make_method("st_adapter"), quick_backbone(), 5, frames=4)
    clips, labels = random_clips(model.backbone), torch.tensor([0, 1])
    fast = step_memory_mb(model, clips, labels, F.cross_entropy)
    shares = []
    for share in (1.0, 0.67, 0.33, 0.1):  # of three blocks: all but the last, two, one, none
        model.checkpointing = share
        shares.append(step_memory_mb(model, clips, labels, F.cross_entropy))
    model.checkpointing = 0.0
    plain(model)
    assert shares[0] == shares[1] < shares[2] < shares[3] == fast
    assert fast < step_memory_mb(model, clips, labels, F.cross_entropy)


@pytest.mark.parametrize(
    ("label", "first", "share", "again"),
    [
        ("st_adapter", 0, 1.0, [1, 0]),
        ("st_adapter", 0, 0.33, [0]),
        ("full", 0, 0.67, [1, 0]),
        ("partial", 2, 1.0, []),
    ],
)
def test_the_first_blocks_are_computed_again(
    label: str, first: int, share: float, again: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(make_method(label), quick_backbone(), 5, frames=4).train()
    run, ran = AdaptedViT._run_block, []

    def noted(self: AdaptedViT, index: int, x: Tensor, shape: ClipShape) -> Tensor:
        ran.append(index)
        return run(self, index, x, shape)

    monkeypatch.setattr(AdaptedViT, "_run_block", noted)
    model.checkpointing = share
    model(random_clips(model.backbone)).sum().backward()
    blocks = list(range(first, 3))
    assert ran == blocks + again
    ran.clear()
    with torch.no_grad():
        model(random_clips(model.backbone))
    assert ran == blocks


def test_what_is_counted_does_not_depend_on_the_kernels() -> None:
    model = build(make_method("st_adapter"), quick_backbone(), 5, frames=4)
    flops = count_flops(model, 4, 32)
    assert not any(getattr(m, "plain", False) for m in model.modules())  # it is as it was
    plain(model)
    assert count_flops(model, 4, 32) == flops
    with plain_kernels(model):
        pass
    assert all(m.plain for m in model.modules() if hasattr(m, "plain"))


def test_timm_names_get_the_lean_activation_too() -> None:
    from petl_bench.backbone import load_backbone

    model = "vit_base_patch32_clip_quickgelu_224"
    with torch.device("meta"):
        backbone = load_backbone(
            BackboneConfig(name="b", summary="", source="timm", model=model, weights="random")
        )
    acts = {type(m) for m in backbone.modules() if isinstance(m, TimmQuickGELU)}
    assert acts == {QuickGELU}


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, inside its compiler
def test_compiled_blocks() -> None:
    """Needs a C++ compiler, as torch.compile does on a CPU."""
    import shutil

    if not (shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler")
    model = moved("st_adapter")
    clips = random_clips(model.backbone)
    eager = gradients(model, clips)
    model.backbone.set_compiled(True)
    torch._dynamo.utils.counters.clear()
    for mine, its in zip(eager, gradients(model, clips), strict=True):
        torch.testing.assert_close(mine, its)
    # blocks of the same make share what was compiled, and nothing of it falls back to the interpreter
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    assert not torch._dynamo.utils.counters["graph_break"]


def test_no_compiler_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **options: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin many lines")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(
        UserError, match=r"recipe\.compile.*needs a C\+\+ compiler.*No working.*compile=false"
    ):
        quick_backbone().set_compiled(True)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiling_is_switched_off_again() -> None:
    backbone = quick_backbone()
    backbone.run_block = lambda *args: None  # type: ignore[assignment, return-value]
    assert backbone.compiled
    backbone.set_compiled(False)
    assert not backbone.compiled
