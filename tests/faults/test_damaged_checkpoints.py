"""A checkpoint or an adapter that is not the one that was written is never used, nor one of other settings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from petl_bench.adapter_file import Adapter, adapter_bytes, read_adapter
from petl_bench.backbone import load_backbone
from petl_bench.checkpoint import UnusableCheckpoint, checkpoint_bytes, read_checkpoint
from petl_bench.config import RunConfig
from petl_bench.data import open_data
from petl_bench.errors import UserError
from petl_bench.machine import MachineError
from petl_bench.results import RunFolder
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.run import Interrupted, Options, run_all

MakeRuns = Callable[..., list[RunConfig]]
CPU = torch.device("cpu")


def stopped(out: Path, config: RunConfig, steps: int = 3) -> RunFolder:
    """A run that was stopped after some steps: its checkpoint is there, its record is not."""
    left = [steps]

    def stop() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted

    data = open_data(config.dataset, config.recipe.validation)
    with pytest.raises(Interrupted):
        Lockstep([config], out, data, load_backbone(config.backbone), stop=stop).train()
    folder = RunFolder.of(out, config)
    assert folder.checkpoint_file.exists()
    return folder


def flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_no_flipped_bit_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    content = {"step": 3, "model": {"w": torch.randn(50, 40), "b": torch.zeros(40)}, "log": "x"}
    data = checkpoint_bytes(content)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(data)
    good = read_checkpoint(file, CPU)
    assert torch.equal(good["model"]["w"], content["model"]["w"]) and good["step"] == 3
    rng = random.Random(0)
    places = [*range(120), *(rng.randrange(len(data)) for _ in range(300)), len(data) - 1]
    for place in places:
        file.write_bytes(flipped(data, place, rng.randrange(8)))
        with pytest.raises(UnusableCheckpoint, match=r"checkpoint.pt cannot be used: .*Delete it"):
            read_checkpoint(file, CPU)
    for torn in (data[:-1], data[: len(data) // 2], data[:30], b"", data + b"\0"):
        file.write_bytes(torn)
        with pytest.raises(UnusableCheckpoint):
            read_checkpoint(file, CPU)


def test_a_checkpoint_without_a_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save({"step": 1}, file)
    with pytest.raises(UnusableCheckpoint, match=r"no checksum.*older version"):
        read_checkpoint(file, CPU)


def test_a_damaged_checkpoint_is_not_trained_on(tmp_path: Path, small_runs: MakeRuns) -> None:
    """Refused, and with --overwrite replaced: the weights are those of a run that was never stopped."""
    (config,) = small_runs("linear_probe")
    folder = stopped(tmp_path / "a", config)
    whole = folder.checkpoint_file.read_bytes()
    folder.checkpoint_file.write_bytes(flipped(whole, len(whole) * 2 // 3, 4))
    with pytest.raises(UserError, match=r"checkpoint.pt cannot be used: it is damaged.*Delete it"):
        run_all([config], Options(tmp_path / "a", workers=0))
    (record,) = run_all([config], Options(tmp_path / "a", workers=0, overwrite=True))
    assert record.status == "done" and record.provenance is not None and record.provenance.sessions == 1
    run_all([config], Options(tmp_path / "b", workers=0))
    ours, theirs = (load_file(RunFolder.of(tmp_path / p, config).adapter_file) for p in "ab")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("recorded", [True, False], ids=["record", "no record"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
def test_a_checkpoint_of_other_settings_is_not_continued(
    recorded: bool, overwrite: bool, tmp_path: Path, small_runs: MakeRuns
) -> None:
    (config,) = small_runs("linear_probe", changes=("linear_probe.lr=0.01",))
    (other,) = small_runs("linear_probe", changes=("linear_probe.lr=0.5", "recipe.weight_decay=0.2"))
    folder = stopped(tmp_path, other)
    if recorded:  # as if of this run: only the checkpoint knows better
        from petl_bench.records import RunRecord

        about = {"suite": config.suite, "dataset": config.dataset.name, "seed": 0, "order_blind": True}
        names = {"label": "linear_probe", "method": "linear_probe", "backbone": config.backbone.name}
        folder.write_record(
            RunRecord.model_validate(
                {"status": "running", **about, **names, "config": config.model_dump(mode="json")}
            )
        )
    options = Options(tmp_path, workers=0, overwrite=overwrite)
    if not overwrite:
        with pytest.raises(
            UserError, match=r"method.lr: 0.5 there, 0.01 here, recipe.weight_decay: 0.2 there"
        ):
            run_all([config], options)
        assert folder.checkpoint_file.exists()
        return
    (record,) = run_all([config], options)
    assert record.provenance is not None and record.provenance.sessions == 1
    run_all([config], Options(tmp_path / "fresh", workers=0))
    fresh = load_file(RunFolder.of(tmp_path / "fresh", config).adapter_file)
    ours = load_file(folder.adapter_file)
    assert all(torch.equal(ours[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
def test_a_checkpoint_of_the_same_settings_goes_on(
    overwrite: bool, tmp_path: Path, small_runs: MakeRuns
) -> None:
    """Also without a record, and where the log is gone: a checkpoint has all that it needs."""
    (config,) = small_runs("linear_probe")
    folder = stopped(tmp_path, config, steps=8)
    lines = folder.read_log()
    assert lines
    folder.log_file.unlink()
    (record,) = run_all([config], Options(tmp_path, workers=0, overwrite=overwrite))
    assert record.provenance is not None and record.provenance.sessions == 2
    assert folder.read_log()[: len(lines)] == lines


def test_a_checkpoint_that_cannot_be_read_is_not_to_be_deleted(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    file.symlink_to("/proc/self/mem")  # opens, and fails with EIO when it is read
    with pytest.raises(MachineError, match=r"checkpoint.pt: .*EIO") as caught:
        read_checkpoint(file, CPU)
    assert "Delete" not in str(caught.value)


def test_no_flipped_bit_of_an_adapter_is_read(tmp_path: Path) -> None:
    state = {"head.weight": torch.randn(5, 7), "head.bias": torch.zeros(5), "scale": torch.tensor(2.0),
             "half": torch.ones(3, dtype=torch.bfloat16)}  # fmt: skip
    data = adapter_bytes(Adapter("lora", "lora@rank=4", state))
    assert data == adapter_bytes(Adapter("lora", "lora@rank=4", dict(reversed(state.items()))))
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(data)
    good = read_adapter(file)
    assert (good.method, good.label, good.state.keys()) == ("lora", "lora@rank=4", state.keys())
    assert all(torch.equal(good.state[name], value) for name, value in state.items())
    assert load_file(file).keys() == state.keys()  # any reader of the format reads it
    rng = random.Random(0)
    for place in range(len(data)):
        file.write_bytes(flipped(data, place, rng.randrange(8)))
        try:
            found = read_adapter(file)
        except UserError:
            continue
        # such as white space between the entries of the header
        assert (found.method, found.label, found.state.keys()) == ("lora", "lora@rank=4", state.keys())
        assert all(torch.equal(found.state[name], value) for name, value in state.items())


def test_an_adapter_without_a_checksum_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "adapter.safetensors"
    header = json.dumps({"method": "full", "label": "full"})
    save_file({"w": torch.zeros(2)}, file, metadata={"petl_bench": header})
    with pytest.raises(UserError, match="sha256"):
        read_adapter(file)
    with pytest.raises(UserError, match="No such file"):
        read_adapter(tmp_path / "gone.safetensors")


def test_a_damaged_checkpoint_of_pretraining_is_refused(tmp_path: Path) -> None:
    from petl_bench.pretrain import load_pretrain_config, pretrain

    tiny = {"steps": 2, "warmup_steps": 0, "batch_size": 8, "log_every": 1, "held_out": 8, "retrieval": 4,
            "image": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
            "text": {"width": 16, "layers": 1, "heads": 2}, "embed_dim": 8}  # fmt: skip
    config = load_pretrain_config("tiny_clip", tiny)
    pretrain(config, tmp_path, device="cpu", stop_after=1)
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    file.write_bytes(flipped(whole, len(whole) // 2, 0))
    with pytest.raises(UserError, match="it is damaged"):
        pretrain(config, tmp_path, device="cpu")
