"""What `methods` and `check` print."""

from __future__ import annotations

import inspect

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from petl_bench.backbone import weightless
from petl_bench.costs import profile as profile_model
from petl_bench.method import build, make_method
from petl_bench.profile_table import count_text
from petl_bench.registry import find_method, method_names
from petl_bench.suite import load_backbone_config


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
        try:
            method = find_method(name)()
            p = profile_model(build(method, backbone, 1), 8, backbone.image_size)
        except Exception as error:  # one that is being written must not hide the others
            table.add_row(name, Text(f"cannot be built: {error}", style="red"))
            continue
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
    method = make_method(name)
    module = inspect.getmodule(cls)
    backbone = weightless(load_backbone_config(backbone_name))
    p = profile_model(build(method, backbone, 1), 8, backbone.image_size)
    settings = Table(box=None, padding=(0, 1), header_style="dim", title_justify="left")
    for head in ("setting", "type", "default"):
        settings.add_column(head, no_wrap=head != "type", overflow="fold")
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
