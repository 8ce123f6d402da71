"""Own data: the recipe that is written fits the number of clips, and every run says how long it trains."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from publishers import touch
from typer.testing import CliRunner

from petl_bench.cli_datasets import app
from petl_bench.config import RunConfig
from petl_bench.data import open_data
from petl_bench.display import Display
from petl_bench.plan_text import plan_text, rate_text
from petl_bench.recipe_by_size import recipe_by_size
from petl_bench.suite import Request, expand
from petl_bench.train import run as runner
from petl_bench.train.run import Options, run_all
from petl_bench.train.trainee import peak_rate

SIZES = sorted({*range(1, 800), *(round(10 ** (k / 40)) for k in range(241)), 6399, 6400, 168_913})


def _steps(clips: int, batch: int, epochs: int) -> int:
    """Counted one by one: batches that are full, or the only one."""
    steps = 0
    for _ in range(epochs):
        left, taken = clips, 0
        while left >= batch:
            left, taken = left - batch, taken + 1
        steps += taken or 1
    return steps


def test_every_size_has_steps_enough() -> None:
    for clips in SIZES:
        found = recipe_by_size(clips)
        assert 1 <= found.batch_size <= min(clips, 64), clips
        assert found.steps >= 250, clips
        assert found.steps_per_epoch >= min(clips, 5), clips
        assert 50 <= found.epochs <= 250, clips
        assert 2.5e-4 <= found.peak <= 5e-3, clips
        assert 1 <= found.warmup_epochs < found.epochs / 20, clips
        if clips < 10_000:  # the loop is slow
            assert found.steps == _steps(clips, found.batch_size, found.epochs), clips


def test_more_clips_never_mean_a_smaller_batch_more_epochs_or_a_higher_rate() -> None:
    found = [recipe_by_size(clips) for clips in SIZES]
    for small, large in pairwise(found):
        assert small.batch_size <= large.batch_size
        assert small.epochs >= large.epochs
        assert small.peak >= large.peak


def test_the_recipe_of_a_small_and_of_a_large_set() -> None:
    small = recipe_by_size(39).fields()
    assert small == {"batch_size": 7, "epochs": 50, "lr": 5e-3, "warmup_epochs": 2}
    large = {"batch_size": 64, "epochs": 50, "lr": 1e-3, "lr_batch": 256, "warmup_epochs": 2}
    assert (
        recipe_by_size(6400).fields() == recipe_by_size(10**6).fields() == large
    )  # 1e-3 x 64 / 256 = 2.5e-4
    assert recipe_by_size(1280).fields()["lr"] == pytest.approx(1.25 / 1000, rel=0.05)  # 20 steps x 50 epochs
    assert recipe_by_size(2).fields() == {"batch_size": 1, "epochs": 125, "lr": 5e-3, "warmup_epochs": 5}
    with pytest.raises(ValueError, match="0 training clips"):
        recipe_by_size(0)


def _folder(root: Path, classes: int, each: int, test: int = 2) -> Path:
    for split, count in (("train", each), ("test", test)):
        touch(*(root / split / f"class {c}" / f"{i}.mp4" for c in range(classes) for i in range(count)))
    return root


@pytest.mark.parametrize(
    ("classes", "each", "trained", "held_out"),
    [
        (3, 14, 39, 3),  # 10 % of 14 is 1
        (4, 10, 36, 4),
        (20, 2, 20, 20),  # one of each class, which is half of them
        (5, 1, 5, 0),
        (2, 300, 540, 60),
    ],
)
def test_what_is_written_is_what_is_trained(
    classes: int, each: int, trained: int, held_out: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_DATA", str(tmp_path / "home"))
    root = _folder(tmp_path / "videos", classes, each)
    done = CliRunner().invoke(app, ["add", "mine", "--root", str(root)])
    assert done.exit_code == 0, done.output
    fits = recipe_by_size(trained)
    plan = f"{trained} clips, {fits.steps_per_epoch} steps an epoch, {fits.steps} steps, peak rate"
    assert plan in done.output
    text = (tmp_path / "home" / "mine" / "dataset.yaml").read_text()
    assert f"# By the number of clips: {plan}" in text
    if held_out:
        assert f"{held_out} clips held out for validation" in done.output
        assert f"# Held out for validation: {held_out} clips" in text
        assert f"one clip is {100 / held_out:.1f} points" in text
    else:
        assert "held out" not in done.output and "none is held out" in text
    assert yaml.safe_load(text)["recipe"].items() >= fits.fields().items()

    custom = Request(None, ["linear_probe"], ["custom"], changes=[f"dataset.root={root}"])
    for request in (Request(None, ["linear_probe"], ["mine"]), custom):
        (run,) = expand(request)
        data = open_data(run.dataset, run.recipe.validation)
        assert (len(data.train.clips), len(data.validation.clips)) == (trained, held_out)
        assert run.recipe.batch_size == fits.batch_size
        assert _steps(trained, run.recipe.batch_size, run.recipe.epochs) == fits.steps >= 250
        assert peak_rate(run) == pytest.approx(fits.peak)


def test_what_the_user_says_of_custom_data_holds(tmp_path: Path) -> None:
    """A rate of one's own is not scaled by the batch that the size would have."""
    root = _folder(tmp_path / "videos", 2, 3600, test=1)
    file = tmp_path / "big.yaml"
    raw = {"summary": "", "source": {"kind": "custom"}, "root": str(root), "backbone": "tiny_clip"}
    file.write_text(yaml.safe_dump({**raw, "recipe": {"epochs": 3}}))
    (run,) = expand(Request(None, ["linear_probe"], [str(file)]))
    assert (run.recipe.epochs, run.recipe.batch_size, run.recipe.lr_batch) == (3, 64, 256)
    file.write_text(yaml.safe_dump({**raw, "recipe": {"lr": 2e-3, "validation": 0.05}}))
    (run,) = expand(Request(None, ["linear_probe"], [str(file)]))
    assert (run.recipe.lr, run.recipe.lr_batch, run.recipe.epochs) == (2e-3, None, 50)


class Heard(Display):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_every_run_says_how_long_it_trains(
    tmp_path: Path, small_runs: Callable[..., list[RunConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    configs = small_runs("linear_probe", "st_adapter")
    rates = [3e-3, 1.25e-4]
    configs = [
        c.model_copy(update={"method": c.method.model_copy(update={"lr": rate}), "selection": None})
        for c, rate in zip(configs, rates, strict=True)
    ]
    seen: list[tuple[int, int]] = []

    class Counted(runner.Lockstep):
        def train(self) -> None:
            super().train()
            seen.append((len(self.data.train.clips), self.trainees[0].step))

    monkeypatch.setattr(runner, "Lockstep", Counted)
    run_all(configs, Options(tmp_path, workers=0, display=heard))
    ((clips, steps),) = seen
    epochs = configs[0].recipe.epochs
    (line,) = [text for text in heard.said if " an epoch" in text]
    assert line.startswith(f"{clips} clips, {steps // epochs} steps an epoch, {steps} steps, ")
    assert "peak rates 1.25e-4 to 3e-3" in line


def test_words_of_a_plan() -> None:
    assert plan_text(39, 5, 250, [5e-3]) == "39 clips, 5 steps an epoch, 250 steps, peak rate 5e-3"
    assert plan_text(1, 1, 1, [1e-3, 1e-3], 1) == (
        "1 clip, 1 step an epoch, 1 step, peak rate 1e-3, 1 clip held out for validation"
    )
    assert plan_text(168_913, 659, 32_950, [1e-3]).startswith(
        "168,913 clips, 659 steps an epoch, 32,950 steps"
    )
    assert [rate_text(r) for r in (1.0, 0.0123456, 9.999e-4, 1e-10)] == ["1e0", "1.23e-2", "1e-3", "1e-10"]
