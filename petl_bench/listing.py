"""What `methods`, `datasets` and `profile` print."""

from __future__ import annotations

import inspect
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.config import BackboneConfig, config_names
from petl_bench.costs import MIB, Profile
from petl_bench.costs import profile as profile_model
from petl_bench.data import dataset_state
from petl_bench.method import build, make_method
from petl_bench.registry import find_method, method_names
from petl_bench.suite import Request, expand, load_backbone_config, load_dataset


def count_text(n: int) -> str:
    """7.24 M, 67.1 k, 0."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.{2 if unit == 'M' or n < 100 * size else 1}f} {unit}"
    return str(n)


def weightless(config: BackboneConfig) -> VideoViT:
    """The architecture of a backbone with random weights: costs need no others."""
    return load_backbone(config.model_copy(update={"weights": "random"}))


def list_methods(backbone_name: str, width: int) -> RenderableType:
    """A row for each method of the registry."""
    backbone = weightless(load_backbone_config(backbone_name))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("method", no_wrap=True, style="bold")
    table.add_column("what trains")
    table.add_column("where", no_wrap=width >= 110)
    table.add_column("trained", justify="right", no_wrap=True)
    table.add_column("GFLOPs", justify="right", no_wrap=True)
    if width >= 120:
        table.add_column("paper")
    for name in method_names():
        method = find_method(name)()
        p = profile_model(build(method, backbone, 1), 8, backbone.image_size)
        row = [name, method.summary, method.place, count_text(p.trainable_params_without_head)]
        row.append(f"{p.gflops_per_view:.3g}")
        if width >= 120:
            row.append(method.paper)
        table.add_row(*row)
    note = f"Trained parameters without the head, GFLOPs of one view of 8 frames; backbone {backbone_name}."
    return Group(table, Text(note, style="dim"), Text("petl-bench methods NAME explains one.", style="dim"))


def explain_method(name: str, backbone_name: str) -> RenderableType:
    """One method: what it does, where it comes from, its settings."""
    cls = find_method(name)
    method = cls()
    module = inspect.getmodule(cls)
    backbone = weightless(load_backbone_config(backbone_name))
    p = profile_model(build(method, backbone, 1), 8, backbone.image_size)
    settings = Table(box=None, padding=(0, 1), header_style="dim", title_justify="left")
    for head in ("setting", "type", "default"):
        settings.add_column(head, no_wrap=head != "type")
    settings.add_column("")
    for key, field in cls.Settings.model_fields.items():
        kind = str(field.annotation).replace("typing.", "").removeprefix("<class '").removesuffix("'>")
        cells = (key, kind, repr(field.default), field.description or "")
        settings.add_row(*(Text(cell) for cell in cells))  # as Text: brackets are no markup here
    facts = (
        f"where: {method.place}; first block touched: {method.first_block(backbone)} of {backbone.depth}; "
        f"order-blind: {'yes' if method.order_blind else 'no'}; "
        f"trained on {backbone_name}: {count_text(p.trainable_params_without_head)} without the head"
    )
    parts: list[RenderableType] = [
        Text(name, style="bold"),
        Text(_unwrapped(cls.__doc__ or "")),
        Text(""),
        Text(_unwrapped(module.__doc__ or "") if module else "", style="dim"),
        Text(""),
        Text(method.paper, style="italic"),
        Text(facts),
        Text(""),
    ]
    if cls.Settings.model_fields:
        parts += [
            settings,
            Text(f"\nChange one with --set {name}.{next(iter(cls.Settings.model_fields))}=VALUE"),
        ]
    else:
        parts.append(Text("It has no settings."))
    return Group(*parts)


def _unwrapped(text: str) -> str:
    """Paragraphs of a docstring as single lines, so that a terminal wraps them at its own width."""
    return "\n\n".join(" ".join(p.split()) for p in inspect.cleandoc(text).split("\n\n"))


def list_datasets() -> RenderableType:
    """A row for each data set."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("data set", no_wrap=True, style="bold")
    table.add_column("what")
    table.add_column("classes", justify="right")
    table.add_column("state", overflow="fold")
    for name in config_names("datasets"):
        config, _ = load_dataset(name)
        table.add_row(name, config.summary, str(config.classes), dataset_state(config).state)
    return table


def profile_table(request: Request, width: int) -> RenderableType:
    """Costs of every method of a request."""
    configs = expand(request)
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("method", no_wrap=True, style="bold")
    heads = ["trained", "w/o head", "share", "GFLOPs/view", "GFLOPs", "state MB", "file MB"]
    shown = heads if width >= 100 else heads[:5]
    for head in shown:
        table.add_column(head, justify="right", no_wrap=True)
    backbones: dict[str, VideoViT] = {}
    seen = set()
    for c in configs:
        key = (c.dataset.name, c.method.label)
        if key in seen:
            continue
        seen.add(key)
        if c.backbone.name not in backbones:
            backbones[c.backbone.name] = weightless(c.backbone)
        backbone = backbones[c.backbone.name]
        method = make_method(c.method.name, c.method.settings)
        model = build(method, backbone, c.dataset.classes, frames=c.dataset.sampling.frames)
        p = profile_model(model, c.dataset.sampling.frames, backbone.image_size)
        count = c.dataset.views.temporal * c.dataset.views.spatial
        table.add_row(c.method.label, *_cells(p, count)[: len(shown)])
    c = configs[0]
    views = c.dataset.views
    note = (
        f"{c.backbone.name}, {c.dataset.name}: {c.dataset.classes} classes, {c.dataset.sampling.frames} frames, "
        f"{views.temporal} x {views.spatial} views. Share: trained parameters without head over the backbone's. "
        "GFLOPs are multiply-adds. State: trained weights, gradients and AdamW's moments."
    )
    return Group(table, Text(note, style="dim"))


def _cells(p: Profile, views: int) -> list[Any]:
    return [
        count_text(p.trainable_params),
        count_text(p.trainable_params_without_head),
        f"{100 * p.trainable_params_without_head / p.backbone_params:.2f} %",
        f"{p.gflops_per_view:.4g}",
        f"{p.gflops_per_view * views:.4g}",
        f"{p.state_mb:.1f}",
        f"{p.adapter_bytes / MIB:.1f}",
    ]
