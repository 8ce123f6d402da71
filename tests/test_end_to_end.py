"""Something-Something-v2 as its publisher hands it out, CLIP ViT-B/16 as OpenAI releases it, both made here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from tiny_clips import save_openai_archive
from video_files import write_file

from petl_bench.records import RunRecord
from petl_bench.synth import class_names, render_video

TEMPLATES = [name.capitalize() for name in class_names("motion")]
TEMPLATES += [f"Doing something else, number {n}" for n in range(174 - len(TEMPLATES))]
METHODS = ("st_adapter", "linear_probe")


@pytest.fixture(scope="module")
def ssv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training clips and two to test on, VP9 in .webm; one listed clip has no file."""
    root = tmp_path_factory.mktemp("ssv2")
    (root / "labels").mkdir()
    numbers = {name: str(number) for number, name in enumerate(TEMPLATES)}
    (root / "labels" / "labels.json").write_text(json.dumps(numbers))
    for split, name, count in (("train", "train", 8), ("test", "validation", 2)):
        entries = []
        for index in range(count):
            clip_id = str(1000 * (split == "test") + index)
            frames, label = render_video("motion", split, index, size=64, length=12, seed=0)
            frames = frames.repeat(2, axis=1).repeat(3, axis=2)  # 128 x 192
            write_file(
                root / "20bn-something-something-v2" / f"{clip_id}.webm",
                frames,
                "libvpx-vp9",
                deadline="realtime",
            )
            words = TEMPLATES[label].split()
            template = " ".join(
                [f"[{words[0]}]", *words[1:]]
            )  # the publisher brackets what stands for an object
            entries.append(
                {"id": clip_id, "label": TEMPLATES[label], "template": template, "placeholders": []}
            )
        entries += [{"id": "77777", "label": "gone", "template": TEMPLATES[0], "placeholders": []}]
        (root / "labels" / f"{name}.json").write_text(json.dumps(entries))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("clip") / "ViT-B-16.pt"
    torch.manual_seed(0)
    save_openai_archive(open_clip.create_model("ViT-B-16-quickgelu", pretrained=None), file)
    return file


def test_ssv2_with_clip_vit_b16(ssv2: Path, weights: Path, tmp_path: Path) -> None:
    """Trained, interrupted, resumed, tested with three views and reported, by the command line alone."""
    changes = [
        f"dataset.root={ssv2}",
        f"backbone.weights={weights}",
        "dataset.sampling.frames=2",  # of 8: a quarter of the time
        "recipe.epochs=1",
        "recipe.batch_size=2",
        "recipe.validation=0",
        "recipe.warmup_epochs=0.5",
        "recipe.test_batch_size=2",
    ]
    base = [sys.executable, "-m", "petl_bench"]
    run = [
        *base,
        "run",
        "--methods",
        ",".join(METHODS),
        "--dataset",
        "ssv2",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    run += [part for change in changes for part in ("--set", change)]
    env = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}

    first = subprocess.Popen(
        run, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    record_file = tmp_path / "results" / "ssv2" / "ssv2" / "st_adapter" / "seed-0" / "record.json"
    while not record_file.exists() and first.poll() is None:  # it is written before the first step
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate()
    assert first.returncode == 130, errors
    assert "the same command goes on" in errors
    assert RunRecord.model_validate_json(record_file.read_text()).status == "running"

    second = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    for method in METHODS:
        folder = record_file.parents[2] / method / "seed-0"
        record = RunRecord.model_validate_json((folder / "record.json").read_text())
        assert record.status == "done"
        assert record.metrics is not None
        assert record.cost is not None
        assert record.provenance is not None
        assert (record.metrics.n_test, record.cost.views) == (2, 3)
        assert record.provenance.sessions == 2
        assert (record.provenance.clips["train"].used, record.provenance.clips["train"].skipped) == (8, 1)
        assert record.provenance.decoder.startswith("pyav")
    trained = load_file(record_file.parent / "adapter.safetensors")
    # paper: 12 adapters of 592,512 parameters and a 174-way head, 7.24 M
    assert sum(t.numel() for t in trained.values()) == 12 * 592_512 + 174 * 769
    assert all(t.isfinite().all() for t in trained.values())
    assert any(t.abs().max() > 0 for name, t in trained.items() if "conv.weight" in name)  # it did learn

    report = subprocess.run(
        [*base, "report"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "reports" / "ssv2" / "report.md").read_text()
    assert "7.24M" in page or "7.24 M" in page
    assert "st_adapter" in page
