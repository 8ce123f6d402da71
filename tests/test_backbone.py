"""The backbone against open_clip's own image tower and timm's own forward."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from tiny_clips import add_tiny_models, save_as, tiny_clip
from torch import Tensor

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT, embed, load_backbone
from petl_bench.config import BackboneConfig
from petl_bench.contract import random_clips
from petl_bench.errors import UserError


@torch.no_grad()
def features(backbone: VideoViT, clips: Tensor) -> Tensor:
    """What enters the head, for clips of one frame: the pooled image features."""
    model = AdaptedViT(backbone, 2).eval()
    shape = backbone.shape_of(clips)
    x = Frozen(backbone, backbone.pixels(clips), shape).tokens(backbone.depth)
    return model.pooling(x, shape, model)  # type: ignore[no-any-return]


def official_clip(tmp_path: Path, quick_gelu: bool = True) -> tuple[CLIP, Path]:
    """A CLIP ViT-B/32 with random weights, saved as its official state dict."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(image_size=224, layers=12, width=768, patch_size=32)
    text = CLIPTextCfg(context_length=8, vocab_size=16, width=32, heads=2, layers=1)
    model = CLIP(512, vision, text, quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for p in model.visual.parameters():
            p.add_(0.01 * torch.randn_like(p))
    file = tmp_path / "clip.pt"
    torch.save(model.state_dict(), file)
    return model, file


@torch.no_grad()
def test_equals_open_clip(tmp_path: Path) -> None:
    model, file = official_clip(tmp_path)
    config = BackboneConfig(
        name="b32",
        summary="",
        source="open_clip",
        model="ViT-B-32-quickgelu",
        weights=str(file),
        activation="quick_gelu",
    )
    backbone = load_backbone(config)
    clips = random_clips(backbone, 2, 1)
    model.visual.proj = None  # the features before CLIP's projection are what a head stands on
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    expected = model.visual((clips[:, 0] / 255 - mean) / std)
    torch.testing.assert_close(features(backbone, clips), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_embedded_clip_equals_open_clip() -> None:
    from petl_bench.suite import load_backbone_config
    from petl_bench.weights import load_embedded_state, weights_file

    state, clip = load_embedded_state(weights_file("tiny_clip"))
    vision = CLIPVisionCfg(**clip["vision_cfg"])
    model = CLIP(clip["embed_dim"], vision, CLIPTextCfg(**clip["text_cfg"]), clip["quick_gelu"]).eval()
    model.load_state_dict(state, strict=False)
    model.visual.proj = None
    backbone = load_backbone(load_backbone_config("tiny_clip"))
    clips = random_clips(backbone, 3, 1)
    expected = model.visual(backbone.pixels(clips))
    torch.testing.assert_close(features(backbone, clips), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_equals_timm() -> None:
    config = BackboneConfig(
        name="t", summary="", source="timm", model="vit_tiny_patch16_224", weights="random"
    )
    backbone = load_backbone(config)
    clips = random_clips(backbone, 2, 1)
    torch.testing.assert_close(
        features(backbone, clips), backbone.vit(backbone.pixels(clips)), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_average_pooled_vits_keep_their_pooling() -> None:
    config = BackboneConfig(
        name="t", summary="", source="timm", model="vit_medium_patch16_gap_240", weights="random"
    )
    backbone = load_backbone(config)
    assert backbone.prefix_tokens == 0
    clips = random_clips(backbone, 2, 1)
    torch.testing.assert_close(
        features(backbone, clips), backbone.vit(backbone.pixels(clips)), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_clip_features_are_the_mean_over_frames() -> None:
    config = BackboneConfig(
        name="t", summary="", source="timm", model="vit_tiny_patch16_224", weights="random"
    )
    backbone = load_backbone(config)
    clips = random_clips(backbone, 1, 3)
    tokens = backbone.vit.blocks(Frozen(backbone, backbone.pixels(clips), backbone.shape_of(clips)).tokens(0))
    expected = backbone.vit.norm((tokens[0, 0] + tokens[1, 0] + tokens[2, 0]) / 3)
    torch.testing.assert_close(features(backbone, clips)[0], expected, atol=1e-5, rtol=1e-4)


def interpolated(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """(1 + n * n, D) -> (1, 1 + h * w, D): bicubic and antialiased; the class token's is kept."""
    n = round((len(position) - 1) ** 0.5)
    image = position[1:].view(n, n, -1).permute(2, 0, 1)[None]
    resized = F.interpolate(image, grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([position[:1], resized[0].flatten(1).T])[None]


@torch.no_grad()
def test_position_embeddings_are_interpolated(tmp_path: Path) -> None:
    add_tiny_models(tmp_path)
    clip = tiny_clip()
    file = save_as(clip, tmp_path / "openai.pt")
    fields = {"name": "t", "summary": "", "source": "open_clip", "model": "ViT-tiny-quickgelu"}
    backbone = load_backbone(BackboneConfig(**fields, weights=str(file), image_size=56))
    position = clip.visual.positional_embedding.detach()
    torch.testing.assert_close(backbone.vit.pos_embed, interpolated(position, (7, 7)), atol=1e-6, rtol=1e-5)
    assert backbone.image_size == 56
    smooth = F.interpolate(position[1:].view(4, 4, -1).permute(2, 0, 1)[None], (7, 7), mode="bilinear")
    assert (backbone.vit.pos_embed[0, 1:] - smooth[0].flatten(1).T).abs().max() > 1e-3  # the test can fail
    # frames that are no square: 3 x 5 patches of the model's own 4 x 4
    plain = load_backbone(BackboneConfig(**fields, weights=str(file)))
    clips = random_clips(plain, 2, 1, 24, 40)
    pixels = plain.pixels(clips)
    tokens = clip.visual.conv1(pixels).flatten(2).transpose(1, 2)
    tokens = torch.cat([clip.visual.class_embedding.expand(2, 1, -1), tokens], 1)
    expected = clip.visual.ln_pre(tokens + interpolated(position, (3, 5)))
    torch.testing.assert_close(embed(plain.vit, pixels), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_position_embeddings_of_timm_are_interpolated(tmp_path: Path) -> None:
    big = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    torch.save(big.state_dict(), tmp_path / "big.pt")
    config = BackboneConfig(
        name="t",
        summary="",
        source="timm",
        model="vit_tiny_patch16_224",
        weights=str(tmp_path / "big.pt"),
        image_size=160,
    )
    backbone = load_backbone(config)
    assert backbone.image_size == 160
    expected = interpolated(big.pos_embed[0], (10, 10))
    torch.testing.assert_close(backbone.vit.pos_embed, expected, atol=1e-6, rtol=1e-5)


def test_errors_name_file_and_remedy(tmp_path: Path) -> None:
    config = BackboneConfig(
        name="b",
        summary="",
        source="open_clip",
        model="ViT-B-32-quickgelu",
        weights=str(tmp_path / "none.pt"),
    )
    with pytest.raises(UserError, match=r"none\.pt.*--set backbone\.weights=FILE"):
        load_backbone(config)
    with pytest.raises(UserError, match="Did you mean 'ViT-B-32"):
        load_backbone(config.model_copy(update={"model": "ViT-B-32x", "weights": "random"}))
    from petl_bench.contract import small_backbone

    with pytest.raises(UserError, match="not tiled by patches"):
        small_backbone().shape_of(torch.zeros(1, 1, 3, 30, 32))


def test_random_weights_are_the_same_every_time() -> None:
    config = BackboneConfig(
        name="t", summary="", source="timm", model="vit_tiny_patch16_224", weights="random"
    )
    torch.manual_seed(1)
    a = load_backbone(config).weights_sha256()
    torch.manual_seed(2)
    assert load_backbone(config).weights_sha256() == a
