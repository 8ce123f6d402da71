"""What a GPU would refuse, found without one: every tensor of a step must lie on the device that trains.

PyTorch's fake tensors know shape, type and device and compute nothing, so a machine without a GPU can have a CUDA
device of them. It cannot run autograd's engine there: backward passes are tested on the CPU alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from petl_bench.adapted import Frozen
from petl_bench.backbone import load_backbone
from petl_bench.data import augment
from petl_bench.data.packed import Decoded, PackedClips
from petl_bench.data.randaugment import NAMES, Applied
from petl_bench.dataset_config import Augment
from petl_bench.kernels import set_plain
from petl_bench.method import build, make_method
from petl_bench.registry import method_names
from petl_bench.suite import load_backbone_config

CUDA = torch.device("cuda", 0)


@pytest.fixture
def overwriting() -> Iterator[None]:
    """Parameters of a module may be exchanged for some of another device."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(before)


@pytest.mark.usefixtures("overwriting")
@pytest.mark.parametrize("label", method_names())
def test_forward_passes_stay_on_the_device(label: str) -> None:
    model = build(make_method(label), load_backbone(load_backbone_config("tiny_clip", {})), 5)
    with FakeTensorMode():
        for part in (model, model.backbone):
            part._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA))
        clips = torch.empty(2, 8, 3, *(2 * [model.backbone.image_size]), dtype=torch.uint8, device=CUDA)
        for plain in (False, True):
            set_plain(model, plain)
            set_plain(model.backbone, plain)
            frozen = Frozen(model.backbone, model.backbone.pixels(clips), model.backbone.shape_of(clips))
            logits = model.train().from_frozen(frozen)
            assert logits.device == CUDA and logits.shape == (2, 5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("train", [True, False])
def test_augmentation_stays_on_the_device(interpolation: augment.Interpolation, train: bool) -> None:
    rng = np.random.default_rng(0)
    clips, places = [], np.arange(4)[None]
    for i, name in enumerate(sorted({*NAMES[True], *NAMES[False]}) if train else ["Invert"]):
        size = (60, 80) if i % 2 else (80, 60)
        drawn = augment.draw_view(*size, Augment(), 48, rng)
        drawn = replace(drawn, operations=(Applied(name, 6.7, True),))
        clips.append(Decoded(np.zeros((4, *size, 3), np.uint8), places, drawn if train else None))
    shape = (4, 3, 48, 48) if train else (3, 4, 3, 48, 48)
    packed = PackedClips.of(clips, shape, 1 if train else 3, interpolation)
    with FakeTensorMode() as mode:
        done = replace(packed, pixels=mode.from_tensor(packed.pixels)).to(CUDA)
    assert done.device == CUDA and done.shape == (len(clips), *shape) and done.dtype == torch.uint8
