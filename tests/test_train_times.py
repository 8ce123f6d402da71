"""Times of a run by a clock that moves only where this file says: every second goes where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petl_bench.adapted import AdaptedViT, Frozen
from petl_bench.backbone import VideoViT, load_backbone
from petl_bench.config import BackboneConfig, MethodConfig, Recipe, RunConfig
from petl_bench.data import Batch, VideoData, loader, open_data
from petl_bench.data.loader import ClipReader
from petl_bench.dataset_config import DatasetConfig
from petl_bench.records import Cost
from petl_bench.results import RunFolder
from petl_bench.train import clock, lockstep
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.run import Interrupted
from petl_bench.train.scribe import Scribe
from petl_bench.train.trainee import Trainee

# seconds that things take
READ, MOVE, PIXELS, EMBED, BLOCK = 0.125, 2.0, 4.0, 8.0, 16.0
OWN = {"linear_probe": 32.0, "partial": 64.0, "st_adapter": 128.0, "full": 256.0}
# the tiny backbone has two blocks: `partial` trains the last, `st_adapter` touches the first
PREFIX = {
    "full": PIXELS,
    "st_adapter": PIXELS + EMBED,
    "partial": PIXELS + EMBED + BLOCK,
    "linear_probe": PIXELS + EMBED + 2 * BLOCK,
}
RECIPE = Recipe(epochs=2, batch_size=4, validation=0.25, precision="fp32", test_batch_size=5, warmup_epochs=0)
STEPS = 12  # two epochs of 26 clips


class FakeTime:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


def owner(model: AdaptedViT) -> str:
    if "vit" in model.owned:
        return "full"
    return {0: "st_adapter", 1: "partial", 2: "linear_probe"}[model.first_block]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    time = FakeTime()
    for module in (clock, lockstep, loader):
        monkeypatch.setattr(module, "time", time)

    def costing(kind: type, name: str, seconds: Callable[..., float]) -> None:
        real = getattr(kind, name)

        def slow(self: Any, *args: Any, **options: Any) -> Any:
            cost = seconds(self, *args)
            result = real(self, *args, **options)
            time.now += cost
            return result

        monkeypatch.setattr(kind, name, slow)

    def of_tokens(frozen: Frozen, depth: int) -> float:
        known = [d for d in frozen._at if d <= depth]
        return BLOCK * (depth - max(known)) if known else EMBED + BLOCK * depth

    costing(ClipReader, "read", lambda *_: READ)
    costing(Batch, "to_device", lambda *_: MOVE)
    costing(VideoViT, "pixels", lambda *_: PIXELS)
    costing(Frozen, "tokens", of_tokens)
    costing(AdaptedViT, "from_frozen", lambda model, _: OWN[owner(model)])
    return time


@pytest.fixture
def configs(squares: DatasetConfig, tiny: BackboneConfig) -> dict[str, RunConfig]:
    return {
        name: RunConfig(
            suite="times",
            method=MethodConfig(name=name),
            dataset=squares,
            backbone=tiny,
            recipe=RECIPE,
            seed=0,
        )
        for name in OWN
    }


def begin(configs: list[RunConfig], out: Path, stop: Callable[[], None] = lambda: None) -> Lockstep:
    data: VideoData = open_data(configs[0].dataset, RECIPE.validation)
    for c in configs:
        RunFolder.of(out, c).path.mkdir(parents=True, exist_ok=True)
    return Lockstep(configs, out, data, load_backbone(configs[0].backbone), stop=stop)


def test_each_method_pays_for_its_steps_and_the_prefix_it_uses(
    fake: FakeTime, configs: dict[str, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validating = 0.0
    evaluate = lockstep.evaluate

    def heard(*args: Any, **options: Any) -> Any:
        nonlocal validating
        began = fake.now
        found = evaluate(*args, **options)
        validating += fake.now - began
        return found

    monkeypatch.setattr(lockstep, "evaluate", heard)
    running = begin(list(configs.values()), tmp_path)
    scribe = Scribe(running, "auto")
    for t in running.trainees:
        scribe.begin(t)
    began = fake.now
    running.train()
    lasted = fake.now - began - validating
    assert validating > 0
    tested, unreadable = running.test()
    for t in running.trainees:

        def cost(t: Trainee = t) -> Cost:
            scribe.finish(t, tested[t.label], unreadable)
            record = t.folder.read_record()
            assert record is not None
            assert record.cost is not None
            return record.cost

        step, data = OWN[t.label] + PREFIX[t.label], 4 * READ + MOVE
        alone = cost()  # no workers: one after the other
        assert alone.compute_seconds == STEPS * step
        assert alone.prefix_seconds == STEPS * PREFIX[t.label]
        assert alone.data_seconds == STEPS * data
        assert alone.alone_seconds == STEPS * (step + data)
        assert alone.step_ms == 1000 * step
        assert alone.train_clips_per_second == round(4 / step, 2)
        assert alone.test_clips_per_second == round(17 / (4 * step), 2)  # 17 clips in four batches
        running.workers = 2  # decoding is hidden behind computing, or computing behind decoding
        assert cost().alone_seconds == STEPS * (step + MOVE)
        t.spent.decode = 1e5
        assert cost().alone_seconds == 5e4
        running.workers = 0
        assert t.spent.lockstep == lasted


def test_a_method_that_is_ahead_pays_for_its_own_steps_alone(
    fake: FakeTime, configs: dict[str, RunConfig], tmp_path: Path
) -> None:
    """It has done three steps by itself; the others catch up, with a prefix of theirs."""
    looks = 0

    def after_three() -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        begin([configs["partial"]], tmp_path, after_three).train()
    both = begin([configs["st_adapter"], configs["partial"]], tmp_path)
    both.train()
    for t in both.trainees:
        assert t.spent.own == STEPS * OWN[t.label]
        assert t.spent.prefix == STEPS * PREFIX[t.label]
        assert t.spent.augment == STEPS * MOVE
        assert t.spent.data == STEPS * (4 * READ + MOVE)
        assert t.spent.decode == STEPS * 4 * READ
        assert t.spent.steps_ms == STEPS * [1000 * (OWN[t.label] + PREFIX[t.label])]
    assert [t.spent.sessions for t in both.trainees] == [1, 2]


def test_checkpoints_two_minutes_after_the_last_and_at_the_end_of_epochs(
    fake: FakeTime, configs: dict[str, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 78.5 seconds here, the first twice as many: its memory is measured."""
    saved: list[int] = []
    save = Trainee.save
    monkeypatch.setattr(Trainee, "save", lambda t: (saved.append(t.step), save(t)))
    begin([configs["linear_probe"]], tmp_path).train()
    assert saved == [1, 3, 5, 6, 8, 10, 12]
