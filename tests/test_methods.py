"""The contract over the whole registry: a new file in methods/ is tested by existing."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import petl_bench.methods
from petl_bench import registry
from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape
from petl_bench.contract import check_method, random_clips, small_backbone
from petl_bench.errors import UserError
from petl_bench.listing import list_methods
from petl_bench.method import Method, build, make_method
from petl_bench.registry import builtin_names, find_method, method_names

VARIANTS = {
    "full": [
        {"temporal": "none"},
        {"temporal": "none", "drop_path": 0.3},
        {"time_init": "zero", "time_resize": "nearest", "drop_path": 0.1},
    ],
    "temporal": [{"time_init": "zero", "time_resize": "nearest", "drop_path": 0.4}],
    "prompt": [{"deep": False, "number": 3}, {"dropout": 0, "decay": True}],
    "adapter": [
        {"places": ["beside_mlp"]},
        {"init_std": 0.001},
        {"places": ["before_attn", "before_mlp"], "blocks": [-1], "width": 5},
    ],
    "st_adapter": [
        {"kernel": [1, 3, 3]},
        {"kernel": [5, 3, 1], "positions": ["before_attn", "before_mlp"], "width": 6, "blocks": [0, 1]},
        {"positions": ["after_attn", "after_mlp"], "blocks": [0, -2], "init": "up"},
    ],
    "partial": [{"last": 3}],
    "attentional_pooling": [{"heads": 4}],
    "lora": [{"rank": 2, "layers": ["attn.proj", "mlp.fc1", "mlp.fc2"]}],
}
CASES = [(name, {}) for name in builtin_names()] + [(n, s) for n, many in VARIANTS.items() for s in many]


@pytest.mark.parametrize(("name", "settings"), CASES, ids=lambda v: v if isinstance(v, str) else str(v))
def test_contract(name: str, settings: dict[str, object]) -> None:
    broken = [c for c in check_method(name, settings) if not c.ok]
    assert not broken, "\n".join(f"{c.name}: {c.detail}" for c in broken)


@pytest.mark.parametrize("name", builtin_names())
def test_documents_itself(name: str) -> None:
    cls = find_method(name)
    assert cls.__doc__
    assert cls.summary
    assert cls.place
    assert len(cls.paper) > 20
    for key, field in cls.Settings.model_fields.items():
        assert not field.is_required(), f"{key} has no default"


@pytest.mark.parametrize("name", builtin_names())
def test_says_where_it_comes_from_and_where_it_deviates(name: str) -> None:
    text = " ".join((sys.modules[find_method(name).__module__].__doc__ or "").split())
    source, _, rest = text.partition(" Code: ")
    code, _, deviations = rest.partition(" Deviations: ")
    assert re.search(r"Source: .*(19|20)\d\d|Source: .*arXiv \d{4}\.\d{5}", source), "names its paper"
    at_a_commit = r"[\w-]+/[\w-]+ at [0-9a-f]{7}\b"
    assert re.search(at_a_commit, code), "names code at a commit"
    assert len(deviations.split(".")[0]) > 3, "says how it deviates, or that it does not"
    assert re.search(r"Weight decay: \w+", deviations), "says what decays"


class Cheat(Method):
    """Changes what it must not: each flag breaks one clause."""

    summary = place = paper = "a method that breaks the contract"
    identity_at_init = True
    what = ""

    def first_block(self, backbone: object) -> int:
        return 2 if self.what == "first_block" else 0

    @property
    def order_blind(self) -> bool:
        return True

    def adapt(self, model: AdaptedViT) -> None:
        model.fill(0, "before_attn", CheatModule(model, self.what))


class CheatModule(nn.Module):
    def __init__(self, model: AdaptedViT, what: str) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1,), 0.1 if what == "identity" else 0.0))
        self.unused = nn.Parameter(torch.zeros(1)) if what == "gradient" else None
        self.what = what
        self.frozen = (model.backbone.vit.blocks[0].norm1.weight,)
        if what == "owns":
            self.stolen = self.frozen[0]

    def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
        if self.what == "frozen":
            self.frozen[0].data += 1e-3
        if self.what == "batch":
            x = x + self.gain * x.mean(0, keepdim=True) + 0.1 * x.mean(0, keepdim=True)
        if self.what == "shape":
            x = x.view(2, -1, *x.shape[1:]).flatten(0, 1)
        if self.what == "order":
            clips = x.view(shape.B, shape.T, *x.shape[1:])
            return (clips + self.gain * clips.roll(1, 1).cumsum(1)).flatten(0, 1)
        return x + self.gain * x * (torch.rand(()) if self.what == "random" else 1)


@pytest.mark.parametrize(
    ("what", "clause"),
    [
        ("identity", "starts as the frozen backbone"),
        ("gradient", "every trained parameter receives gradients"),
        ("owns", "only what the method owns trains"),
        ("frozen", "frozen weights stay bit-identical"),
        ("first_block", "first_block is true"),
        ("shape", "any batch, length and image size"),
        ("batch", "any batch, length and image size"),
        ("order", "order of frames"),
    ],
)
def test_contract_catches(monkeypatch: pytest.MonkeyPatch, what: str, clause: str) -> None:
    monkeypatch.setattr(Cheat, "what", what)
    monkeypatch.setattr("petl_bench.contract.make_method", lambda name, settings: Cheat())
    failed = {c.name for c in check_method("cheat") if not c.ok}
    assert clause in failed


def test_full_owns_a_copy_of_everything_and_partial_of_the_last_blocks() -> None:
    backbone = small_backbone()
    full = build(make_method("full", {"temporal": "none"}), backbone, 5)
    assert sum(p.numel() for p in full.owned.parameters()) == sum(p.numel() for p in backbone.parameters())
    partial = build(make_method("partial", {"last": 1}), backbone, 5)
    block, norm = backbone.vit.blocks[-1], backbone.vit.norm
    expected = sum(p.numel() for m in (block, norm) for p in m.parameters())
    assert sum(p.numel() for p in partial.owned.parameters()) == expected


@torch.no_grad()
def test_prompts_are_replaced_not_piled_up() -> None:
    backbone = small_backbone()
    model = build(make_method("prompt", {"number": 4}), backbone, 5)
    shape = backbone.shape_of(random_clips(backbone))
    x = torch.zeros(shape.B * shape.T, 1 + shape.N, backbone.width)
    for index in range(backbone.depth):
        x = model.run_block(index, x, shape)
        assert x.shape[1] == 1 + 4 + shape.N


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(UserError, match="Did you mean 'st_adapter'"):
        find_method("st_adaptor")
    with pytest.raises(UserError, match=r"kernel.*odd"):
        make_method("st_adapter", {"kernel": [2, 1, 1]})
    with pytest.raises(UserError, match=r"kernal.*no such field.*kernel"):
        make_method("st_adapter", {"kernal": [3, 1, 1]})
    with pytest.raises(UserError, match="blocks 0 to 2"):
        build(make_method("st_adapter", {"blocks": [7]}), small_backbone(), 5)
    with pytest.raises(UserError, match="this backbone has 3 blocks"):
        build(make_method("partial", {"last": 9}), small_backbone(), 5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ndef (", r"methods/broken\.py cannot be imported: .*line 2"),
        (
            "\n\nimport nothere",
            r"methods/broken\.py cannot be imported: ModuleNotFoundError: .*nothere.*line 3",
        ),
        ("", "expected one subclass of Method, found 0"),
    ],
)
def test_a_broken_file_is_named_and_hides_no_other(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.setattr(petl_bench.methods, "__path__", [*petl_bench.methods.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "petl_bench.methods.broken", raising=False)
    monkeypatch.setattr(registry, "builtin_names", lambda: ["broken", "linear_probe"])
    with pytest.raises(UserError, match=says):
        find_method("broken")
    console = Console(width=200, file=io.StringIO())
    console.print(list_methods("tiny_clip", 200))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "cannot be built" in shown and "linear_probe" in shown


def test_a_wrong_slot_is_the_authors_error() -> None:
    model = build(make_method("linear_probe"), small_backbone(), 5)
    with pytest.raises(UserError, match=r"Unknown slot 'before_atn'\. Did you mean 'before_attn'"):
        model.fill(0, "before_atn", nn.Identity())
    model.fill(0, "before_attn", nn.Identity())
    with pytest.raises(UserError, match="Slot 'before_attn' of block 0 is taken"):
        model.fill(0, "before_attn", nn.Identity())


def test_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("cheat", "test_methods:Cheat", registry.GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point])
    assert "cheat" in method_names()
    monkeypatch.setattr(EntryPoint, "load", lambda self: Cheat)
    assert find_method("cheat") is Cheat
    taken = EntryPoint("full", "somewhere:Full", registry.GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [taken])
    with pytest.raises(UserError, match="takes a name that is in use"):
        method_names()
