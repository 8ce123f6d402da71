"""The loop: company, interruption, failures and broken clips change no number of anybody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import publishers
import pytest
import torch
from safetensors.torch import load_file
from video_files import numbered_frames, write_file

from petl_bench.backbone import load_backbone
from petl_bench.config import RunConfig
from petl_bench.data import Loader, open_data
from petl_bench.errors import UserError
from petl_bench.method import build, make_method
from petl_bench.records import RunRecord
from petl_bench.results import RunFolder, read_record
from petl_bench.train import run as runner
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.run import Interrupted, Options, run_all
from petl_bench.train.trainee import Trainee, learning_rate

MakeRuns = Callable[..., list[RunConfig]]
METHODS = ("full", "linear_probe", "partial", "prompt", "st_adapter")


def weights(out: Path, config: RunConfig) -> dict[str, torch.Tensor]:
    return load_file(RunFolder.of(out, config).adapter_file)


def losses(out: Path, config: RunConfig) -> list[dict[str, object]]:
    return RunFolder.of(out, config).read_log()


def assert_same_run(a: Path, b: Path, config: RunConfig) -> None:
    one, two = weights(a, config), weights(b, config)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), f"{config.method.label}: {name} differs"
    assert losses(a, config) == losses(b, config)
    first, second = (RunFolder.of(out, config).read_record() for out in (a, b))
    assert first is not None
    assert second is not None
    assert first.metrics == second.metrics


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Path:
    """Five methods in one lockstep, never interrupted."""
    from conftest import SMALL

    from petl_bench.suite import Request, expand

    out = tmp_path_factory.mktemp("together")
    run_all(expand(Request("demo", list(METHODS), changes=SMALL)), Options(out, workers=0))
    return out


@pytest.mark.parametrize("method", METHODS)
def test_company_changes_nothing(method: str, together: Path, tmp_path: Path, small_runs: MakeRuns) -> None:
    (config,) = small_runs(method)
    run_all([config], Options(tmp_path, workers=0))
    assert_same_run(tmp_path, together, config)


class StopAfter:
    """Stands for a signal: asks to stop at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted


def test_the_place_of_augmentation_changes_nothing(
    together: Path, tmp_path: Path, small_runs: MakeRuns
) -> None:
    """Augmented by the device (here the CPU), alone, interrupted and resumed: the weights of the lockstep whose clips
    were augmented as they were decoded. The record says which it was."""
    (config,) = small_runs("st_adapter", changes=("recipe.augment_on=device",))
    data = open_data(config.dataset, config.recipe.validation)
    RunFolder.of(tmp_path, config).path.mkdir(parents=True)
    lockstep = Lockstep([config], tmp_path, data, load_backbone(config.backbone), stop=StopAfter(6))
    with pytest.raises(Interrupted):
        lockstep.train()
    (record,) = run_all([config], Options(tmp_path, workers=0))
    assert_same_run(tmp_path, together, config)
    theirs = RunFolder.of(together, config).read_record()
    assert record.provenance is not None
    assert theirs is not None
    assert theirs.provenance is not None
    assert record.provenance.sessions == 2
    assert (record.provenance.augment_on, theirs.provenance.augment_on) == ("device", "workers")
    assert record.cost is not None
    assert record.cost.data_seconds > lockstep.all[0].spent.augment > 0


@pytest.mark.parametrize("steps", [1, 6, 9, 13])  # the last one is inside the validation
def test_interruption_changes_nothing(
    steps: int, together: Path, tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = small_runs(*METHODS)
    data = open_data(configs[0].dataset, configs[0].recipe.validation)
    backbone = load_backbone(configs[0].backbone)
    for c in configs:
        RunFolder.of(tmp_path, c).path.mkdir(parents=True)
    lockstep = Lockstep(configs, tmp_path, data, backbone, stop=StopAfter(steps))
    with pytest.raises(Interrupted):
        lockstep.train()
    assert RunFolder.of(tmp_path, configs[0]).checkpoint_file.exists()
    # one method is lost on the way: it starts again while the others wait for it
    RunFolder.of(tmp_path, configs[1]).checkpoint_file.unlink()
    records = run_all(configs, Options(tmp_path, workers=0))
    assert all(r.status == "done" for r in records)
    for c in configs:
        assert_same_run(tmp_path, together, c)
        assert not RunFolder.of(tmp_path, c).checkpoint_file.exists()
    assert records[0].provenance is not None
    assert records[0].provenance.sessions == 2


def test_what_is_done_is_not_run_again(
    together: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Lockstep", None)  # whoever trains fails
    before = {p: p.stat().st_mtime_ns for p in together.rglob("*") if p.is_file()}
    records = run_all(small_runs(*METHODS), Options(together, workers=0))
    assert [r.label for r in records] == list(METHODS)
    assert before == {p: p.stat().st_mtime_ns for p in together.rglob("*") if p.is_file()}


def test_a_record_older_than_a_field_is_still_done(
    together: Path, tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config,) = small_runs("linear_probe")
    folder = RunFolder.of(tmp_path, config)
    shutil.copytree(RunFolder.of(together, config).path, folder.path)
    record = json.loads(folder.record_file.read_text())
    del record["config"]["dataset"]["fraction"]
    del record["config"]["method"]["varied"]
    del record["config"]["recipe"]["augment_on"]
    del record["provenance"]["augment_on"]
    folder.record_file.write_text(json.dumps(record))
    monkeypatch.setattr(runner, "Lockstep", None)  # whoever trains fails
    assert run_all([config], Options(tmp_path, workers=0))[0].status == "done"


def test_other_settings_in_the_same_folder_are_an_error(together: Path, small_runs: MakeRuns) -> None:
    with pytest.raises(
        UserError, match=r"st_adapter.*recipe.weight_decay: 0.01 there, 0.5 here.*--overwrite"
    ):
        run_all(small_runs("st_adapter", changes=("recipe.weight_decay=0.5",)), Options(together, workers=0))


def test_record_is_complete(together: Path, small_runs: MakeRuns) -> None:
    for config in small_runs(*METHODS):
        folder = RunFolder.of(together, config)
        record = folder.read_record()
        assert record is not None
        assert record.metrics is not None
        assert record.cost is not None
        assert record.provenance is not None
        assert record.metrics.n_test == 32
        assert record.metrics.pair_accuracy is not None
        assert record.provenance.clips["train"].used == 48
        assert record.provenance.clips["validation"].used == 16
        c = record.cost
        assert c.adapter_bytes == folder.adapter_file.stat().st_size
        assert c.compute_seconds > 0
        assert c.step_ms > 0
        assert c.peak_memory_mb > 0
        assert c.alone_seconds == pytest.approx(c.compute_seconds + c.data_seconds, abs=0.01)
        assert c.gflops == pytest.approx(c.gflops_per_view * c.views)
        trained = sum(t.numel() for t in weights(together, config).values())
        assert c.trainable_params == trained
        assert RunConfig.model_validate(record.config) == config
        json.loads(folder.record_file.read_text())
    probe = small_runs("linear_probe")[0]
    assert set(weights(together, probe)) == {"head.weight", "head.bias"}


def test_an_order_blind_method_cannot_tell_twins(together: Path, small_runs: MakeRuns) -> None:
    for name in ("linear_probe", "partial", "prompt"):
        record = RunFolder.of(together, small_runs(name)[0]).read_record()
        assert record is not None
        assert record.metrics is not None
        assert record.order_blind
        assert record.metrics.pair_accuracy is not None
        assert record.metrics.pair_accuracy <= 50.0
        assert record.metrics.top1 <= 50.0


def test_frame_order_is_measured(together: Path, small_runs: MakeRuns) -> None:
    """Reversed clips, flipped here by hand and fed to the trained weights, give what the record says."""
    config = small_runs("st_adapter")[0]
    record = RunFolder.of(together, config).read_record()
    assert record is not None
    assert record.metrics is not None
    backbone = load_backbone(config.backbone)
    model = build(make_method("st_adapter"), backbone, 16, frames=8).eval()
    model.load_state_dict(weights(together, config))
    data = open_data(config.dataset, config.recipe.validation)
    options = {"size": backbone.image_size, "batch_size": 8, "seed": 0, "train": False, "workers": 0}
    right = 0
    for batch in Loader(data.test, config.dataset, **options).epoch(0):
        with torch.no_grad():
            scores = model(batch.clips[:, 0].flip(1))
        right += int((scores.argmax(1) == batch.labels).sum())
    assert record.metrics.top1_reversed == pytest.approx(100 * right / 32)
    assert record.settings["kernel"] == [3, 1, 1]
    for name in ("linear_probe", "partial", "prompt"):
        blind = RunFolder.of(together, small_runs(name)[0]).read_record()
        assert blind is not None
        assert blind.metrics is not None
        assert blind.metrics.top1_reversed == blind.metrics.top1_shuffled == blind.metrics.top1


def test_a_method_fails_alone(
    tmp_path: Path, together: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainee.train_step

    def broken(self: Trainee, *args: object) -> None:
        if self.label == "partial" and self.step == 3:
            raise RuntimeError("out of memory")
        step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainee, "train_step", broken)
    configs = small_runs("partial", "st_adapter")
    records = {r.label: r for r in run_all(configs, Options(tmp_path, workers=0))}
    assert records["partial"].status == "failed"
    assert records["partial"].error == "RuntimeError: out of memory"
    assert "Traceback" in (RunFolder.of(tmp_path, configs[0]).path / "error.txt").read_text()
    assert records["st_adapter"].status == "done"
    assert_same_run(tmp_path, together, configs[1])
    monkeypatch.undo()


def test_no_batch_is_read_for_nobody(
    tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that is behind fails: the loop goes on where the others stand, not through what they have done."""
    ahead, behind = small_runs("linear_probe", "partial")
    data, backbone = open_data(ahead.dataset, ahead.recipe.validation), load_backbone(ahead.backbone)
    steps = 0

    def stop_after_eight() -> None:
        nonlocal steps
        steps += 1
        if steps > 8:
            raise Interrupted

    with pytest.raises(Interrupted):
        Lockstep([ahead], tmp_path, data, backbone, stop=stop_after_eight).train()
    both = Lockstep([ahead, behind], tmp_path, data, backbone)
    seen = []
    step = Lockstep._step
    monkeypatch.setattr(Lockstep, "_step", lambda self, at, batch: (seen.append(at), step(self, at, batch)))
    monkeypatch.setattr(Trainee, "train_step", failing(Trainee.train_step, "partial", 3))
    both.train()
    assert seen == [0, 1, 2, 3, 8, 9, 10, 11]
    assert both.trainees[0].step == 12
    assert both._depths == [backbone.depth]  # what the failed one needed is no longer computed


def failing(train_step: Callable[..., None], label: str, at: int) -> Callable[..., None]:
    def broken(self: Trainee, *args: object) -> None:
        if self.label == label and self.step == at:
            raise RuntimeError("broken on purpose")
        train_step(self, *args)

    return broken


def test_a_method_fails_alone_in_validation_too(tmp_path: Path, small_runs: MakeRuns) -> None:
    from petl_bench.adapted import AdaptedViT, Frozen

    forward = AdaptedViT.from_frozen
    patch = pytest.MonkeyPatch()

    def broken(self: AdaptedViT, frozen: Frozen) -> torch.Tensor:
        if not self.training and self.first_block == 3:
            raise RuntimeError("no memory for [/this]")
        return forward(self, frozen)

    patch.setattr(AdaptedViT, "from_frozen", broken)
    records = {
        r.label: r for r in run_all(small_runs("partial", "linear_probe"), Options(tmp_path, workers=0))
    }
    patch.undo()
    assert (records["partial"].status, records["linear_probe"].status) == ("failed", "done")


def test_a_checkpoint_of_other_weights_is_refused(tmp_path: Path, small_runs: MakeRuns) -> None:
    configs = small_runs("linear_probe")
    data = open_data(configs[0].dataset, configs[0].recipe.validation)
    backbone = load_backbone(configs[0].backbone)
    with pytest.raises(Interrupted):
        Lockstep(configs, tmp_path, data, backbone, stop=StopAfter(3)).train()
    with torch.no_grad():
        backbone.vit.norm.weight.mul_(2)
    with pytest.raises(UserError, match="the weights changed since"):
        Lockstep(configs, tmp_path, data, backbone)


def test_divergence_is_a_failure_not_a_number(tmp_path: Path, small_runs: MakeRuns) -> None:
    (record,) = run_all(small_runs("partial", changes=("partial.lr=1e30",)), Options(tmp_path, workers=0))
    assert record.status == "failed"
    assert record.metrics is None
    assert "smaller learning rate" in str(record.error)


def test_broken_clips_are_counted_and_left_out(
    tmp_path: Path, small_runs: MakeRuns, data_folder: Path
) -> None:
    (config,) = small_runs("linear_probe", changes=(f"dataset.root={tmp_path / 'broken'}",))
    data = open_data(config.dataset, config.recipe.validation)
    for manifest, n in ((data.train, 2), (data.test, 3)):
        for clip in manifest.clips[:n]:
            clip.path.write_bytes(b"not a video")
    (record,) = run_all([config], Options(tmp_path / "out", workers=0))
    assert record.status == "done"
    assert record.provenance is not None
    assert record.metrics is not None
    train, test = record.provenance.clips["train"], record.provenance.clips["test"]
    assert (train.used, train.unreadable) == (46, 2)
    assert (test.used, test.unreadable, record.metrics.n_test) == (29, 3, 29)


def test_two_heads(tmp_path: Path, small_runs: MakeRuns) -> None:
    """Verb and noun of EPIC-Kitchens: a head of 3 + 4 outputs; the record scores both, and the pair."""
    spans = ("00:00:00.00", "00:00:01.00"), ("00:00:01.00", "00:00:02.00")
    train = [("P01_01", *spans[i % 2], i % 3, i % 4) for i in range(8)]
    test = [("P01_01", *spans[i % 2], i % 3, i % 4) for i in range(4)]
    publishers.epic(tmp_path, {"train": train, "validation": test})
    write_file(tmp_path / "videos" / "P01_01.mp4", numbered_frames(30, 48, 48))
    heads = {"verb": 3, "noun": 4}
    dataset = publishers.config("epic", tmp_path, 12, heads=heads, sampling={"frames": 2})
    (config,) = small_runs("st_adapter", changes=("recipe.validation=0",))
    config = config.model_copy(update={"dataset": dataset})
    (record,) = run_all([config], Options(tmp_path / "out", workers=0))
    assert record.error is None
    assert record.metrics is not None
    assert weights(tmp_path / "out", config)["head.weight"].shape[0] == 7

    model = build(make_method("st_adapter"), load_backbone(config.backbone), 7, frames=2).eval()
    model.load_state_dict(weights(tmp_path / "out", config))
    data = open_data(dataset, 0)
    options = {"size": 48, "batch_size": 4, "seed": 0, "train": False, "workers": 0}
    (batch,) = Loader(data.test, dataset, **options).epoch(0)
    with torch.no_grad():
        logits = model(batch.clips[:, 0])
    verbs, nouns = (
        logits[:, :3].argmax(1) == torch.arange(4) % 3,
        logits[:, 3:].argmax(1) == torch.arange(4),
    )
    assert record.metrics.heads["verb"].top1 == 100 * verbs.float().mean()
    assert record.metrics.heads["noun"].top1 == 100 * nouns.float().mean()
    assert record.metrics.top1 == 100 * (verbs & nouns).float().mean()


def test_tune_chooses_on_validation_and_never_tests(
    tmp_path: Path, small_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conftest import SMALL

    from petl_bench.config import LearningRates, read_yaml
    from petl_bench.suite import Request
    from petl_bench.train.tune import tune

    monkeypatch.setattr(Lockstep, "test", None)  # whoever touches the test split fails
    request = Request("demo", ["linear_probe", "partial"], changes=SMALL)
    (file,) = tune(request, [1e-3, 1e30], Options(tmp_path, workers=0))
    rates = LearningRates.model_validate(read_yaml(file))
    assert rates.grid == [1e-3, 1e30]
    assert rates.chosen["partial"] == 1e-3
    assert rates.validation_top1["partial"]["1e+30"] == 0.0
    log = RunFolder(tmp_path / "tune" / "demo" / "synth_motion" / "partial@0.001" / "seed-0").read_log(
        "validation"
    )
    assert rates.validation_top1["partial"]["0.001"] == log[-1]["top1"]


def test_schedule() -> None:
    rates = [learning_rate(s, 10, 4, 1.0) for s in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[7] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.0669873)


def test_newer_records_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match="upgrade petl-bench"):
        read_record(file)
    file.write_text('{"schema_version": 1, "status": "gone"}')
    with pytest.raises(UserError, match="status"):
        read_record(file)
    assert RunRecord.model_fields["schema_version"].default == 1
