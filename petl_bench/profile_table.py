"""What `petl-bench profile` prints and writes: the costs of methods, without weights or data."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from petl_bench.backbone import VideoViT, load_backbone, weightless
from petl_bench.config import BackboneConfig, RunConfig
from petl_bench.costs import MIB, Profile, profile
from petl_bench.method import build, make_method
from petl_bench.suite import Request, expand


@dataclass(frozen=True)
class Costs:
    """One row: a method on a data set's clips."""

    config: RunConfig
    profile: Profile
    size: int  # height and width of a frame, pixels

    @property
    def views(self) -> int:
        views = self.config.dataset.views
        return views.temporal * views.spatial

    def fields(self) -> dict[str, Any]:
        """What `--json` and `--csv` write."""
        c, p = self.config, self.profile
        return {
            "dataset": c.dataset.name,
            "backbone": c.backbone.name,
            "method": c.method.label,
            "outputs": c.dataset.outputs,
            "frames": c.dataset.sampling.frames,
            "size": self.size,
            "views": self.views,
            "trainable_params": p.trainable_params,
            "trainable_params_without_head": p.trainable_params_without_head,
            "backbone_params": p.backbone_params,
            "share": p.trainable_params_without_head / p.backbone_params,
            "gflops_per_view": p.gflops_per_view,
            "gflops_all_views": p.gflops_per_view * self.views,
            "state_mib": p.state_mb,
            "adapter_mib": p.adapter_bytes / MIB,
        }


def costs_of(request: Request) -> list[Costs]:
    """Costs of every method of a request on each of its data sets. Seeds change none of them."""
    rows: dict[tuple[str, str], Costs] = {}
    backbones: dict[str, VideoViT] = {}
    for c in expand(request):
        key = (c.dataset.name, c.method.label)
        if key not in rows:
            if c.backbone.name not in backbones:
                backbones[c.backbone.name] = weightless(c.backbone)
            rows[key] = _costs(c, backbones[c.backbone.name])
    return list(rows.values())


def _costs(c: RunConfig, backbone: VideoViT) -> Costs:
    method, frames = make_method(c.method.name, c.method.settings), c.dataset.sampling.frames

    def measured(on: VideoViT) -> Profile:
        return profile(build(method, on, c.dataset.outputs, frames=frames), frames, on.image_size)

    try:
        return Costs(c, measured(backbone), backbone.image_size)
    except (
        NotImplementedError,
        RuntimeError,
    ):  # a method that looks at weights, which the meta device has not
        return Costs(c, measured(_random(c.backbone)), backbone.image_size)


def _random(config: BackboneConfig) -> VideoViT:
    return load_backbone(config.model_copy(update={"weights": "random"}))


def profile_table(rows: list[Costs]) -> RenderableType:
    """A table for each data set, 80 columns wide."""
    parts: list[RenderableType] = []
    for name in dict.fromkeys(row.config.dataset.name for row in rows):
        if parts:
            parts.append(Text(""))
        parts += _of_one_dataset([row for row in rows if row.config.dataset.name == name])
    note = (
        "Share: trained parameters without the head, of the backbone's. GFLOPs are multiply-adds. State: trained "
        "weights, gradients and AdamW's two moments, float32. File: the adapter's weights, float32."
    )
    return Group(*parts, Text(note, style="dim"))


def _of_one_dataset(rows: list[Costs]) -> list[RenderableType]:
    dataset = rows[0].config.dataset
    backbones = {row.config.backbone.name: row.size for row in rows}
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("method", overflow="fold", style="bold")
    heads = ["trained", "w/o head", "share", "GFLOPs\nper view", "GFLOPs\nin all", "state\nMiB", "file\nMiB"]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        label = row.config.method.label
        if len(backbones) > 1:
            label += f" ({row.config.backbone.name})"
        table.add_row(Text(label), *_cells(row))
    on = ", ".join(f"{name} at {size}x{size}" for name, size in backbones.items())
    about = (
        f"{dataset.name} ({dataset.outputs} outputs), {dataset.sampling.frames} frames, {dataset.views.temporal} x "
        f"{dataset.views.spatial} views; {on}"
    )
    return [Text(about), table]


def _cells(row: Costs) -> list[str]:
    p = row.profile
    return [
        count_text(p.trainable_params),
        count_text(p.trainable_params_without_head),
        f"{100 * p.trainable_params_without_head / p.backbone_params:.2f} %",
        number_text(p.gflops_per_view),
        number_text(p.gflops_per_view * row.views),
        number_text(p.state_mb),
        number_text(p.adapter_bytes / MIB),
    ]


def count_text(n: int) -> str:
    """7.24 M, 67.1 k, 0."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.{2 if unit == 'M' or n < 100 * size else 1}f} {unit}"
    return str(n)


def number_text(x: float) -> str:
    """Four digits at least, never an exponent: 16813, 455.3, 0.04207."""
    if x >= 1000:
        return f"{x:.0f}"
    return f"{x:.4g}" if x >= 1e-3 or x == 0 else f"{x:.6f}"


def profile_csv(rows: list[Costs]) -> str:
    """A line for each row, with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0].fields()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.fields() for row in rows)
    return out.getvalue()
