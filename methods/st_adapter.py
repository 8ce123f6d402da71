"""ST-Adapter: a bottleneck with a depthwise 3-D convolution, on the patch tokens of frozen blocks.

Source: Pan, Lin, Zhu, Shao, Li, ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning, NeurIPS 2022,
arXiv 2206.13559. Code: linziyi96/st-adapter at b914b38, models_adapter.py. `X + f(DWConv3D(X W_down)) W_up` with f the
identity, convolution and all biases initialised to zero, class tokens left out, as published.

The paper and its code differ in where the adapters stand. The text has one before the attention of each block, which is
the default here. The released model for Kinetics-400, "12x384", has it before the MLP: `positions: [before_mlp]`; that
for Something-Something-v2, "24x384", has two a block: `positions: [before_attn, before_mlp]`. Nothing reads the
patches after the last attention, so the adapter before the last MLP receives no gradient in either. They are
`st_adapter_official_k400` and `st_adapter_official_ssv2` of the suite `paper`. The published width is 384 for ViT-L/14,
too, where the default, half of the backbone's, is 512.

Deviations: none in the module. Weight decay: on the weights of projections, convolution and head, not on biases, as in
the code.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape, VideoViT
from petl_bench.fields import Whole
from petl_bench.kernels import add_to_patches, time_conv
from petl_bench.method import Method, Settings, chosen_blocks

Position = Literal["before_attn", "after_attn", "before_mlp", "after_mlp"]
Extent = Annotated[Whole, Field(ge=1, le=99)]


class STAdapterSettings(Settings):
    width: Whole | None = Field(
        None,
        ge=1,
        le=65_536,
        description="of the bottleneck; default: half of the backbone's; published: 384, on ViT-L too",
    )
    kernel: tuple[Extent, Extent, Extent] = Field(
        (3, 1, 1), description="of the convolution: time, height, width; odd"
    )
    positions: list[Position] = Field(["before_attn"], min_length=1, description="slots of a block")
    blocks: list[Whole] | None = Field(
        None, description="indices of blocks, negative from the end; default: all"
    )
    init: Literal["conv", "up"] = Field(
        "conv", description="what starts at zero: the convolution, as published, or the up-projection"
    )

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(k % 2 == 0 for k in kernel):
            raise ValueError("every extent must be odd and positive, such as [3, 1, 1]")
        return kernel


class SpaceTimeBottleneck(nn.Module):
    """x + W_up DWConv3D(W_down x) on the patches: (B*T, P + N, D) -> the same.

    A kernel without extent in space is computed without turning the channels to the front (`time_conv`).
    """

    plain = False

    def __init__(self, width: int, bottleneck: int, kernel: tuple[int, int, int], init: str) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.conv = nn.Conv3d(
            bottleneck,
            bottleneck,
            kernel,
            padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2),
            groups=bottleneck,
        )
        self.up = nn.Linear(bottleneck, width)
        for module in (self.down, self.conv, self.up):
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv.weight if init == "conv" else self.up.weight)

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        B, T, N, (h, w) = shape.B, shape.T, shape.N, shape.grid
        low = self.down(x[:, -N:])  # (B*T, N, bottleneck)
        if self.conv.kernel_size[1:] == (1, 1) and not self.plain:
            taps = self.conv.weight.view(low.shape[-1], -1)
            low = time_conv(low.view(B, T, N, -1), taps, self.conv.bias).view(B * T, N, -1)  # type: ignore[arg-type]
        else:
            low = low.view(B, T, h, w, -1).permute(0, 4, 1, 2, 3)  # (B, bottleneck, T, h, w)
            low = self.conv(low).permute(0, 2, 3, 4, 1).reshape(B * T, N, -1)
        if self.plain:
            return x + F.pad(self.up(low), (0, 0, x.shape[1] - N, 0))
        return add_to_patches(x, self.up(low))


class STAdapter(Method):
    """Bottlenecks with a depthwise space-time convolution before the attention of frozen blocks."""

    summary = "a bottleneck with a depthwise space-time convolution"
    place = "before_attn"
    paper = (
        "Pan et al., ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning, NeurIPS 2022, "
        "arXiv 2206.13559"
    )
    identity_at_init = True
    Settings = STAdapterSettings
    settings: STAdapterSettings

    @property
    def order_blind(self) -> bool:
        return self.settings.kernel[0] == 1

    def first_block(self, backbone: VideoViT) -> int:
        return chosen_blocks(self.settings.blocks, backbone.depth)[0]

    def adapt(self, model: AdaptedViT) -> None:
        s = self.settings
        width = model.backbone.width
        for index in chosen_blocks(s.blocks, model.backbone.depth):
            for position in s.positions:
                module = SpaceTimeBottleneck(width, s.width or width // 2, s.kernel, s.init)
                model.fill(index, position, module)
