"""Files of weights: every released format, what they must say, where they are looked for, what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from huggingface_hub import constants
from open_clip.pretrained import _PRETRAINED, _pcfg
from safetensors.torch import save_file
from tiny_clips import add_tiny_models, save_as, save_nameless_archive, tiny_clip, tower_features

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT, load_backbone, weightless
from petl_bench.backbone_releases import open_clip_release
from petl_bench.config import BackboneConfig, config_names
from petl_bench.contract import random_clips
from petl_bench.errors import UserError
from petl_bench.suite import load_backbone_config

QUICK = "ViT-tiny-quickgelu"


@pytest.fixture(scope="module", autouse=True)
def _tiny_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    add_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches and no network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    return tmp_path


def config(**fields: Any) -> BackboneConfig:
    known = {"name": "b", "summary": "", "source": "open_clip", "model": QUICK}
    return BackboneConfig(**{**known, **fields})


def release(monkeypatch: pytest.MonkeyPatch, tag: str, model: str = "ViT-tiny", **fields: Any) -> None:
    monkeypatch.setitem(_PRETRAINED, model, {**_PRETRAINED.get(model, {}), tag: _pcfg(**fields)})


def put_in_hub(caches: Path, repository: str, file: str) -> Path:
    """An empty place for a file in the layout of Hugging Face's cache."""
    folder = caches / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    (folder / "snapshots" / "0123").mkdir(parents=True)
    return folder / "snapshots" / "0123" / file


@torch.no_grad()
def features(backbone: VideoViT, clips: torch.Tensor) -> torch.Tensor:
    model = AdaptedViT(backbone, 2).eval()
    shape = backbone.shape_of(clips)
    x = Frozen(backbone, backbone.pixels(clips), shape).tokens(backbone.depth)
    return model.pooling(x, shape, model)  # type: ignore[no-any-return]


def assert_equal_to_tower(backbone: VideoViT, model: open_clip.CLIP) -> None:
    clips = random_clips(backbone, 3, 1)
    expected = tower_features(model, backbone.pixels(clips))
    torch.testing.assert_close(features(backbone, clips), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", ["openai.pt", "plain.pt", "training.pt", "plain.bin", "plain.safetensors"])
def test_every_format_equals_open_clips_tower(tmp_path: Path, name: str, quick: bool) -> None:
    model = tiny_clip(quick)
    file = save_as(model, tmp_path / name)
    said = None if name == "openai.pt" else ("quick_gelu" if quick else "gelu")
    backbone = load_backbone(config(model=QUICK if quick else "ViT-tiny", weights=str(file), activation=said))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert_equal_to_tower(backbone, model)
    # the activation is seen in the features: with the other one the test above would fail
    other = tiny_clip(not quick)
    pixels = torch.randn(2, 3, 32, 32)
    assert (tower_features(other, pixels) - tower_features(model, pixels)).abs().max() > 1e-3


def test_a_wrong_activation_is_an_error(tmp_path: Path) -> None:
    archive = str(save_as(tiny_clip(), tmp_path / "openai.pt"))
    with pytest.raises(
        UserError, match=r"trained with quick_gelu.*ViT-tiny has gelu.*model=ViT-tiny-quickgelu"
    ):
        load_backbone(config(model="ViT-tiny", weights=archive))
    with pytest.raises(UserError, match=r"declared as gelu.*trained with quick_gelu"):
        load_backbone(config(weights=archive, activation="gelu"))
    plain = str(save_as(tiny_clip(), tmp_path / "plain.pt"))
    with pytest.raises(UserError, match=r"does not say.*--set backbone\.activation=quick_gelu"):
        load_backbone(config(weights=plain))
    with pytest.raises(UserError, match=r"trained with gelu.*Use --set backbone\.model=ViT-tiny\."):
        load_backbone(config(weights=plain, activation="gelu"))
    traced = str(
        save_as(tiny_clip(quick_gelu=False), tmp_path / "openai.pt")
    )  # open_clip writes archives too
    with pytest.raises(UserError, match=r"trained with gelu \(the archive's own modules\)"):
        load_backbone(config(weights=traced))


def test_archives_of_openai_are_known_by_their_entries(tmp_path: Path) -> None:
    model = tiny_clip()
    entries = {k: v.half() for k, v in model.state_dict().items()}
    save_nameless_archive(entries, tmp_path / "some.pt")
    with pytest.raises(UserError, match="does not say"):
        load_backbone(config(weights=str(tmp_path / "some.pt")))
    sizes = {"input_resolution": 32, "context_length": 8, "vocab_size": 16}
    save_nameless_archive({**entries, **{k: torch.tensor(v) for k, v in sizes.items()}}, tmp_path / "o.pt")
    assert_equal_to_tower(load_backbone(config(weights=str(tmp_path / "o.pt"))), model)
    with pytest.raises(UserError, match="archive of OpenAI's release"):
        load_backbone(config(model="ViT-tiny", weights=str(tmp_path / "o.pt")))


def test_released_files_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_clip()
    file = save_as(model, tmp_path / "renamed.pt")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    release(monkeypatch, "openai", url=f"https://openaipublic.azureedge.net/x/{digest}/A.pt", quick_gelu=True)
    assert_equal_to_tower(load_backbone(config(weights=str(file))), model)
    with pytest.raises(
        UserError, match=r"trained with quick_gelu \(its sha256 is that of ViT-tiny 'openai'\)"
    ):
        load_backbone(config(model="ViT-tiny", weights=str(file)))
    url = f"https://github.com/mlfoundations/open_clip/vit-{digest[:8]}.pt"  # open_clip's own sums are short
    monkeypatch.delitem(_PRETRAINED, "ViT-tiny")
    release(monkeypatch, "laion", url=url)
    with pytest.raises(UserError, match=r"'laion'.*has quick_gelu"):
        load_backbone(config(weights=str(file), activation="gelu"))


def test_tags_of_the_other_activation_are_errors(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"gelu.*model=ViT-B-16\."):
        load_backbone(config(model="ViT-B-16-quickgelu", weights="laion2b_s34b_b88k"))
    release(monkeypatch, "openai", hf_hub="somebody/tiny/", quick_gelu=True)
    with pytest.raises(
        UserError, match=r"trained with quick_gelu.*open_clip's list.*model=ViT-tiny-quickgelu"
    ):
        load_backbone(config(model="ViT-tiny", weights="openai"))


def test_tags_are_found_in_the_hubs_cache(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_clip()
    release(monkeypatch, "openai", hf_hub="somebody/tiny/", quick_gelu=True, mean=(0.1, 0.2, 0.3))
    place = put_in_hub(caches, "somebody/tiny", "open_clip_pytorch_model.bin")
    save_as(model, place)
    backbone = load_backbone(config(weights="openai"))
    assert_equal_to_tower(backbone, model)
    assert backbone.config.mean == (0.1, 0.2, 0.3)  # what these weights were trained with
    torch.testing.assert_close(backbone.mean.flatten(), 255 * torch.tensor([0.1, 0.2, 0.3]))
    assert load_backbone(config(weights="openai", mean=(0.5, 0.5, 0.5))).config.mean == (0.5, 0.5, 0.5)


def test_tags_are_found_in_clips_cache_and_checked(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_clip()
    (caches / ".cache" / "clip").mkdir(parents=True)
    file = save_as(model, caches / ".cache" / "clip" / "openai.pt")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    release(
        monkeypatch, "openai", url=f"https://openaipublic.azureedge.net/x/{digest}/openai.pt", quick_gelu=True
    )
    assert_equal_to_tower(load_backbone(config(weights="openai")), model)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=rf"openai\.pt is damaged.*{digest}"):
        load_backbone(config(weights="openai"))


def test_archives_that_nobody_named_need_a_published_sha256(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_clip()
    release(monkeypatch, "openai", hf_hub="somebody/tiny/", quick_gelu=True)
    place = put_in_hub(caches, "somebody/tiny", "open_clip_pytorch_model.bin")
    place.write_bytes(save_as(model, caches / "openai.pt").read_bytes())
    with monkeypatch.context() as watched:
        watched.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("the archive was opened"))
        with pytest.raises(UserError, match=r"is a TorchScript archive without a published sha256.*name it"):
            load_backbone(config(weights="openai"))
        timms = "vit_tiny_patch16_224.augreg_in21k"
        other = put_in_hub(caches, f"timm/{timms}", "pytorch_model.bin")
        other.write_bytes(place.read_bytes())
        with pytest.raises(UserError, match="is a TorchScript archive without a published sha256"):
            load_backbone(load_backbone_config(f"timm:{timms}"))
        digest = hashlib.sha256(place.read_bytes()).hexdigest()
        release(monkeypatch, "short", url=f"https://github.com/mlfoundations/open_clip/vit-{digest[:8]}.pt")
        with pytest.raises(UserError, match="is a TorchScript archive without a published sha256"):
            load_backbone(config(weights="openai"))  # eight digits are no proof
    assert_equal_to_tower(load_backbone(config(weights=str(place))), model)
    release(monkeypatch, "whole", url=f"https://openaipublic.azureedge.net/x/{digest}/A.pt", quick_gelu=True)
    assert_equal_to_tower(load_backbone(config(weights="openai")), model)


def test_without_network_the_message_says_which_file_to_put_where(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    url = f"https://openaipublic.azureedge.net/clip/models/{digest}/ViT-B-32.pt"
    release(monkeypatch, "openai", hf_hub="somebody/tiny/", url=url, quick_gelu=True)
    with pytest.raises(UserError) as caught:
        load_backbone(config(weights="openai"))
    for text in (
        "https://huggingface.co/somebody/tiny/resolve/main/open_clip_model.safetensors",
        f"{caches}/hub/models--somebody--tiny",
        f"{url}\n    -> {caches}/.cache/clip/ViT-B-32.pt",
        "--set backbone.weights=FILE",
        "--set backbone.activation=quick_gelu",
    ):
        assert text in str(caught.value)
    tiny = "vit_tiny_patch16_224.augreg_in21k"
    with pytest.raises(
        UserError, match=rf"{tiny}/resolve/main/model\.safetensors\n    -> .*models--timm--{tiny} (?s:.*)FILE"
    ):
        load_backbone(config(source="timm", model=tiny, weights="timm"))
    assert not (caches / "hub").exists() and not (caches / ".cache").exists()
    with pytest.raises(UserError, match=r"no file here and no tag of ViT-tiny-quickgelu.*weights=FILE"):
        load_backbone(config(weights="opnai"))


def test_timm_weights_are_found_in_the_hubs_cache(caches: Path) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k"
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7).eval()
    save_file(model.state_dict(), put_in_hub(caches, f"timm/{name}", "model.safetensors"))
    backbone = load_backbone(load_backbone_config(f"timm:{name}"))
    assert backbone.config.mean == (0.5, 0.5, 0.5)
    clips = random_clips(backbone, 2, 1)
    with torch.no_grad():
        pixels = clips[:, 0] / 127.5 - 1
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(features(backbone, clips), expected, atol=1e-5, rtol=1e-4)


def test_timms_clips_without_quickgelu_are_errors(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vit_base_patch32_clip_224.openai"
    with torch.device("meta"):  # no need of real networks
        with pytest.raises(
            UserError, match=r"trained with quick_gelu.*model=vit_base_patch32_clip_quickgelu_224\.openai"
        ):
            load_backbone(config(source="timm", model=name, weights="timm"))
        with pytest.raises(UserError, match="could not be fetched"):  # plain GELU is right here
            load_backbone(config(source="timm", model="vit_base_patch32_clip_224.laion2b", weights="timm"))
    monkeypatch.setattr("petl_bench.backbone_sources.list_models", lambda *_: ["vit_tiny_patch16_224"])
    with pytest.raises(UserError, match=r"Unknown timm model 'vit_tiny_patch16_24'.*'vit_tiny_patch16_224'"):
        load_backbone(config(source="timm", model="vit_tiny_patch16_24", weights="timm"))


def test_misfits_are_listed(tmp_path: Path) -> None:
    def loading(state: dict[str, Any], **fields: Any) -> pytest.ExceptionInfo[UserError]:
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(UserError) as caught:
            load_backbone(config(weights=str(tmp_path / "w.pt"), activation="quick_gelu", **fields))
        return caught

    state = tiny_clip().state_dict()
    changed = {k: v for k, v in state.items() if k != "visual.ln_post.bias"}
    changed["visual.extra"] = torch.zeros(1)
    changed["visual.ln_pre.weight"] = torch.zeros(63)
    text = str(loading(changed).value)
    assert "missing: norm.bias\n" in text and "not known: extra\n" in text
    assert "norm_pre.weight (63,) in the file, (64,) in the model" in text
    assert "its patches are 16x16 pixels, the model's 8x8" in str(
        loading(tiny_clip(patch_size=16).state_dict()).value
    )
    wide = str(loading(tiny_clip(image_size=48).state_dict()).value)
    assert "36 patches; weights of 48 pixels?" in wide and "--set backbone.image_size=32" in wide
    assert "transformers" in str(loading({"vision_model.embeddings.class_embedding": torch.zeros(1)}).value)
    assert "source: timm" in str(loading({"patch_embed.proj.weight": torch.zeros(1)}).value)
    with pytest.raises(UserError, match="image_size=36 is no multiple of the patches' 8"):
        load_backbone(config(weights="random", image_size=36))
    with pytest.raises(UserError, match=r"not a plain ViT \(it has final_ln_after_pool"):
        load_backbone(config(model="ViT-L-14-CLIPA", weights="random"))


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_code_in_files_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "ran"))
    torch.save({"visual.proj": _Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(UserError, match=r"bomb\.pt is not a readable.*more than tensors"):
        load_backbone(config(weights=str(tmp_path / "bomb.pt"), activation="quick_gelu"))
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "bomb.pt", weights_only=False)  # the bomb is real
    assert (tmp_path / "ran").exists()
    for name, data in (("a.pt", b"junk"), ("b.safetensors", b"junk"), ("c.pt", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name} is not a readable weights file"):
            load_backbone(config(weights=str(tmp_path / name), activation="quick_gelu"))


# depth, width, heads, patch, size, parameters of the tower: 3 p^2 D + D (class) + (N+1) D + [2 D] + 2 D
# + depth (12 D^2 + 13 D); CLIP's have no bias of the patches but a norm before the blocks, ImageNet's the reverse
SHIPPED = {
    "clip_vit_b32": (12, 768, 12, 32, 224),
    "clip_vit_b16": (12, 768, 12, 16, 224),
    "clip_vit_b16_laion2b": (12, 768, 12, 16, 224),
    "clip_vit_l14": (24, 1024, 16, 14, 224),
    "clip_vit_l14_336": (24, 1024, 16, 14, 336),
    "vit_b16_in21k": (12, 768, 12, 16, 224),
    "vit_l16_in21k": (24, 1024, 16, 16, 224),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_backbones(name: str) -> None:
    shipped = load_backbone_config(name)
    backbone = weightless(shipped)
    depth, D, heads, patch, size = SHIPPED[name]
    assert (backbone.depth, backbone.width, backbone.heads) == (depth, D, heads)
    assert (backbone.patch, backbone.image_size) == ((patch, patch), size)
    N = (size // patch) ** 2
    once = 2 * D if shipped.source == "open_clip" else D
    expected = 3 * patch**2 * D + D + (N + 1) * D + once + 2 * D + depth * (12 * D * D + 13 * D)
    assert sum(p.numel() for p in backbone.parameters()) == expected
    if shipped.source == "open_clip":
        assert shipped.weights is not None
        found = open_clip_release(shipped.model, shipped.weights)
        assert found and ("quickgelu" in shipped.model) == (found.activation == "quick_gelu")
        header = Path("configs/backbones").joinpath(f"{name}.yaml").read_text()
        sums = [p.sha256 for p in found.places if p.sha256]
        assert re.findall(r"sha256 ([0-9a-f]{64})", header) == sums
        assert all(p.name in header for p in found.places if p.repository is None)
        assert all(p.repository in header for p in found.places if p.repository)


def test_every_shipped_backbone_is_tested() -> None:
    assert {n for n in config_names("backbones") if not n.startswith("tiny_clip")} == set(SHIPPED)
