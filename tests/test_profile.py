"""`petl-bench profile`: the paper's numbers without weights or data, readable at 80 columns."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from typer.testing import CliRunner

from petl_bench.adapted import AdaptedViT
from petl_bench.backbone import ClipShape
from petl_bench.cli import app
from petl_bench.config import load_named
from petl_bench.method import Method
from petl_bench.profile_table import costs_of, number_text, profile_csv, profile_table
from petl_bench.registry import method_names
from petl_bench.suite import Request


def request(*methods: str, dataset: str = "ssv2", changes: tuple[str, ...] = ()) -> Request:
    return Request(None, list(methods), [dataset], None, None, list(changes))


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read and nothing of a network is computed."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("profile read weights")

    monkeypatch.setattr("petl_bench.backbone_sources.read_weights", forbidden)
    monkeypatch.setattr("petl_bench.backbone_sources.obtain", forbidden)


def test_the_papers_numbers() -> None:
    classes = "dataset.classes=400"
    (st,) = costs_of(request("st_adapter"))
    assert f"{st.profile.trainable_params / 1e6:.2f}" == "7.24"
    (full,) = costs_of(request("full", changes=(classes,)))
    assert f"{full.profile.trainable_params / 1e6:.2f}" == "121.57"
    for frames, paper in ((8, 455), (16, 911), (32, 1821)):
        changes = (classes, f"dataset.sampling.frames={frames}")
        (st,) = costs_of(request("st_adapter", changes=changes))
        assert round(st.fields()["gflops_all_views"]) == paper and st.views == 3


def test_every_setting_works() -> None:
    def st(*changes: str) -> Any:
        (row,) = costs_of(request("st_adapter", changes=tuple(f"st_adapter.{c}" for c in changes)))
        return row.profile

    D, w = 768, 384
    base = st()
    assert st("kernel=[5,1,1]").trainable_params - base.trainable_params == 12 * 2 * w
    more = 1e9 * (st("kernel=[5,1,1]").gflops_per_view - base.gflops_per_view)
    assert more == pytest.approx(12 * 8 * 196 * 2 * w)
    per_adapter = 2 * D * 128 + 128 + D + 4 * 128
    assert st("width=128", "blocks=[-1,0]").trainable_params_without_head == 2 * per_adapter
    assert st("positions=[before_attn,before_mlp]").trainable_params_without_head == 24 * 592_512


def test_several_heads_side_by_side(tmp_path: Path) -> None:
    raw = load_named("datasets", "synth_motion")
    raw |= {"name": "pairs", "classes": 12, "heads": {"verb": 3, "noun": 4}}
    (tmp_path / "pairs.yaml").write_text(json.dumps(raw))  # YAML reads JSON
    (row,) = costs_of(request("linear_probe", dataset=str(tmp_path / "pairs.yaml")))
    assert row.fields()["outputs"] == 7 and row.profile.trainable_params == 7 * 129


def test_readable_at_80_columns() -> None:
    rows = costs_of(request("all"))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(profile_table(rows))
    text = console.export_text()
    assert "…" not in text and max(len(line) for line in text.splitlines()) <= 80
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert set(method_names()) <= set(lines)
    assert lines["st_adapter"][1:] == [
        "7.24",
        "M",
        "7.11",
        "M",
        "8.29",
        "%",
        "151.8",
        "455.3",
        "110.5",
        "27.63",
    ]
    trained = 12 * 768**2 + 13 * 768 + 2 * 768 + 174 * 769  # a block, the norm, the head
    assert lines["partial"][-2:] == [f"{16 * trained / 2**20:.1f}", f"{4 * trained / 2**20:.2f}"]
    for head in ("trained", "w/o head", "share", "per view", "in all", "state", "file", "method"):
        assert head in text


def test_several_data_sets_have_a_table_each() -> None:
    rows = costs_of(Request(None, ["linear_probe"], ["synth_motion", "synth_appearance"], None, [0, 1], []))
    assert [row.config.dataset.name for row in rows] == ["synth_motion", "synth_appearance"]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(profile_table(rows))
    assert console.export_text().count("linear_probe") == 2


def test_json_and_csv(tmp_path: Path) -> None:
    arguments = ["profile", "--methods", "linear_probe,prompt", "--json", "--csv", str(tmp_path / "p.csv")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    printed = json.loads(result.stdout)
    assert [row["method"] for row in printed] == ["linear_probe", "prompt"]
    with (tmp_path / "p.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in printed] == written
    assert printed[0]["trainable_params"] == 16 * 129
    assert printed[0]["backbone_params"] == printed[1]["backbone_params"] > 0
    assert profile_csv(costs_of(request("prompt"))).count("\n") == 2


class _Looking(Method):
    """A method that looks at the frozen weights: it cannot work on the meta device."""

    summary = place = paper = "test"

    def adapt(self, model: AdaptedViT) -> None:
        weight = model.vit.blocks[0].attn.proj.weight
        rank = int(torch.linalg.matrix_rank(weight)) and 3

        class Gate(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(rank))

            def forward(self, x: Tensor, shape: ClipShape) -> Tensor:
                return x * self.scale.mean()

        model.fill(0, "tokens", Gate())


def test_methods_that_look_at_weights_get_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petl_bench.profile_table.make_method", lambda *_: _Looking())
    (row,) = costs_of(request("linear_probe", dataset="synth_motion"))
    assert row.profile.trainable_params_without_head == 3


def test_numbers_have_no_exponents() -> None:
    assert [number_text(x) for x in (16812.6, 455.34, 0.04207, 0.0000421, 0)] == [
        "16813",
        "455.3",
        "0.04207",
        "0.000042",
        "0",
    ]
