"""The loop: one pass over the data trains every method.

A batch is decoded, augmented and moved to the device once; the frozen prefix that methods leave untouched is
computed once, as deep as the method that needs it deepest; then every method takes its step. Nothing of a
method's numbers depends on its company: batches and dropout masks are functions of (seed, epoch, step) alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from petl_bench.adapted import Frozen
from petl_bench.backbone import VideoViT
from petl_bench.checkpoint import UnusableCheckpoint
from petl_bench.config import RunConfig
from petl_bench.data import Batch, Loader, Manifest, TimeOrder, VideoData
from petl_bench.data.prepared import open_prepared
from petl_bench.display import Display, Row
from petl_bench.kernels import set_plain
from petl_bench.metrics import compute_head_metrics, compute_metrics
from petl_bench.records import Metrics
from petl_bench.results import RunFolder
from petl_bench.train.clock import Clock
from petl_bench.train.evaluate import Scored, evaluate
from petl_bench.train.failing import FailingAlone
from petl_bench.train.memory import both_passes, step_memory
from petl_bench.train.readability import Readability, TooManyUnreadable
from petl_bench.train.trainee import Trainee

READ_EVERY = 10  # steps between two looks at losses and times, each of which makes a GPU wait
SAVE_SECONDS = 120.0


class Lockstep:
    """Methods that train on the same batches: same data, recipe (but for the learning rate), backbone and seed.

    `finished` is called with a trainee that is done or has failed, before the loop lets go of it.
    """

    def __init__(
        self,
        configs: list[RunConfig],
        out: Path,
        data: VideoData,
        backbone: VideoViT,
        *,
        workers: int = 0,
        decoder: str = "auto",
        display: Display | None = None,
        stop: Callable[[], None] = lambda: None,
        overwrite: bool = False,
        readability: Readability | None = None,
    ) -> None:
        first = configs[0]
        self.recipe, self.seed = first.recipe, first.seed
        self.data, self.backbone = data, backbone
        set_plain(backbone, self.recipe.kernels == "plain")
        backbone.set_compiled(self.recipe.compile)
        self._warm: set[str] = set()  # labels of the methods whose step is compiled in this session
        self.device = next(backbone.parameters()).device
        self.display = display or Display()
        self.stop = stop
        self.readability = readability or Readability()
        bf16 = self.recipe.precision == "bf16" or (
            self.recipe.precision == "auto" and self.device.type == "cuda"
        )
        self.precision = torch.bfloat16 if bf16 else torch.float32
        self.augment_on = self.recipe.augments_on(self.device.type)
        self._loader_options = {
            "config": data.config,
            "size": backbone.image_size,
            "seed": self.seed,
            "workers": workers,
            "decoder": decoder,
            "pin_memory": self.device.type == "cuda",
            "augment_on": self.augment_on,
        }
        self.prepared = open_prepared(data)
        self._loader_options["prepared"] = self.prepared
        self.workers = workers
        self.loader = self._loader(data.train, self.recipe.batch_size, train=True)
        self.steps_per_epoch = len(self.loader)
        self.steps = self.recipe.epochs * self.steps_per_epoch
        warmup = round(self.recipe.warmup_epochs * self.steps_per_epoch)
        identity = {"data": data.sha256, "weights": backbone.weights_sha256(), "device": self.device.type}
        if self.prepared:
            identity["prepared frames (`--set dataset.prepared=off` decodes the videos)"] = (
                self.prepared.sha256
            )
        self.trainees: list[Trainee] = []
        for config in configs:
            folder = RunFolder.of(out, config)
            trainee = Trainee(config, folder, backbone, self.steps, warmup, identity)
            self._resume(trainee, overwrite)
            trainee.spent.sessions += 1
            self.trainees.append(trainee)
        self.all = list(self.trainees)
        self._depths = self._depths_in_use()
        self.prefix, self.augment = Clock(self.device), Clock(self.device)
        self._waits: list[tuple[float, float]] = []  # of each batch: seconds waited for it, seconds it took

    def _resume(self, t: Trainee, overwrite: bool) -> None:
        try:
            t.load()
        except UnusableCheckpoint as error:
            if not overwrite:
                raise
            self.display.say(f"{t.label}: the checkpoint was not used and is replaced: {error.why}")
            error.file.unlink()

    def _loader(
        self, manifest: Manifest, batch_size: int, train: bool, time_order: TimeOrder = "kept"
    ) -> Loader:
        options = {"batch_size": batch_size, "train": train, "time_order": time_order}
        return Loader(manifest, **options, **self._loader_options)  # type: ignore[arg-type]

    # -- training ------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train every method to its last step. Interrupted by `stop`, it leaves checkpoints of this very step."""
        step = min((t.step for t in self.trainees), default=self.steps)
        self.display.begin("train", self.steps, step)
        saved = begun = time.monotonic()
        try:
            if step:
                self._validate(step)  # it was stopped there
            for at, batch in self._batches(step):
                step = at
                self.stop()
                self._measure_memory(step, batch)
                self._step(step, batch)
                step += 1
                epoch_ends = step % self.steps_per_epoch == 0
                if epoch_ends:
                    self._end_epoch(step)
                if step % READ_EVERY == 0 or epoch_ends:
                    self._read(line=True)
                    begun = self._spread_wall(begun)
                self.display.advance(step)
                if epoch_ends:
                    self._validate(step)
                    begun = time.monotonic()  # validation is no training time
                if epoch_ends or time.monotonic() - saved > SAVE_SECONDS:
                    self._read()
                    self._save(step)
                    saved = time.monotonic()
                if not self.trainees:
                    break
        except (KeyboardInterrupt, TooManyUnreadable):
            # the one may come inside a step, the other after steps without many clips: the last checkpoint stays
            raise
        except BaseException:
            self._read()
            self._save(step)
            raise
        finally:
            self.loader.close()

    def _batches(self, step: int) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `step` on; where the methods that were behind have failed, on from the others."""
        while step < self.steps:
            epoch, start = divmod(step, self.steps_per_epoch)
            batches = self.loader.epoch(epoch, start)
            while True:
                begin = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                self._waits.append((time.perf_counter() - begin, batch.seconds))
                yield step, batch
                step += 1
                ahead = min((t.step for t in self.trainees), default=step)
                if ahead > step:
                    step = ahead
                    break

    def _step(self, step: int, batch: Batch) -> None:
        active = [t for t in self.trainees if t.step == step]
        for t in active:
            t.unreadable.update(batch.unreadable)
            t.lost.update(batch.unreadable)
        if batch.unreadable and active:
            self.readability.check(self._pass_text(step), active[0].lost, self._clips_of_epoch)
        if not len(batch.labels):  # every clip of it was broken; the step counts, so that resuming agrees
            for t in active:
                t.step += 1
            self._waits.pop()
            return
        with self.augment.lap():
            clips, labels = batch.to_device(self.device)
        frozen = self._frozen(clips)
        for t in active:
            with self.failing_alone(t):
                t.train_step(frozen, labels, self.precision)

    @property
    def _clips_of_epoch(self) -> int:
        return min(self.steps_per_epoch * self.recipe.batch_size, len(self.data.train.clips))

    def _pass_text(self, step: int) -> str:
        return f"train, epoch {step // self.steps_per_epoch + 1}"

    def _end_epoch(self, step: int) -> None:
        """Say which clips an epoch went without."""
        active = [t for t in self.trainees if t.step == step]
        if active:
            self.readability.end(self._pass_text(step - 1), active[0].lost, self._clips_of_epoch)
        for t in active:
            t.lost.clear()

    def _depths_in_use(self) -> list[int]:
        return sorted({t.model.first_block for t in self.trainees if "vit" not in t.model.owned})

    def _frozen(self, clips: Tensor) -> Frozen:
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            with self.prefix.lap():
                frozen = Frozen(self.backbone, self.backbone.pixels(clips), self.backbone.shape_of(clips))
            for depth in self._depths:
                with self.prefix.lap():
                    frozen.tokens(depth)
        return frozen

    def _read(self, line: bool = False) -> None:
        """Take times and losses off the device. A method that joined late counts only its own last steps."""
        per_step = 1 + len(self._depths)
        flat = self.prefix.read()
        rows = len(flat) // per_step  # a prefix that an error cut short is no row
        laps = np.array(flat[: rows * per_step]).reshape(rows, per_step).cumsum(1)
        waits = np.array(self._waits[:rows]).reshape(-1, 2)
        augmented = np.array(self.augment.read()[:rows])
        self._waits = []
        for t in list(self.trainees):
            n = len(t._losses)
            if not n:
                continue
            used = 0 if "vit" in t.model.owned else 1 + self._depths.index(t.model.first_block)
            prefix = laps[-n:, used]
            t.spent.prefix += float(prefix.sum())
            t.spent.augment += float(augmented[-n:].sum())
            t.spent.data += float(waits[-n:, 0].sum() + augmented[-n:].sum())
            t.spent.decode += float(waits[-n:, 1].sum())
            with self.failing_alone(t):
                t.read(self.steps_per_epoch, 1000 * float(prefix.mean()), line)
        self._depths = self._depths_in_use()  # no time is left to read, so it may change
        self.display.rows({t.label: self._row(t) for t in self.trainees})

    def _row(self, t: Trainee, note: str = "") -> Row:
        step_s = float(np.mean(t.spent.steps_ms[-50:])) / 1000 if t.spent.steps_ms else 0.0
        rate = self.recipe.batch_size / step_s if step_s else None
        done = "done" if t.step >= self.steps else ""
        known = t.loss if math.isfinite(t.loss) else None
        left = step_s * (self.steps - t.step) if step_s else None
        return Row(known, t.train_top1 if known else None, t.validation_top1, rate, left, note or done)

    def _spread_wall(self, since: float) -> float:
        now = time.monotonic()
        for t in self.trainees:
            t.spent.lockstep += now - since
        return now

    def _measure_memory(self, step: int, batch: Batch) -> None:
        for t in self.trainees:
            cold = self.recipe.compile and t.label not in self._warm
            if t.step == step and (cold or not t.spent.peak_memory_mb) and len(batch.labels):
                with self.failing_alone(t):
                    given = (t.model, *batch.to_device(self.device), t.objective.loss, self.precision)
                    if cold:  # what the compiler takes is no training time, and its memory none of the step
                        both_passes(*given)
                        self._warm.add(t.label)
                    t.spent.peak_memory_mb = t.spent.peak_memory_mb or step_memory(*given)

    def _save(self, step: int) -> None:
        for t in self.trainees:
            if t.step == step:  # one that is ahead has its checkpoint already
                t.save()

    def failing_alone(self, t: Trainee) -> FailingAlone:
        """`with` it, an error of a method takes that method out of the lockstep, and only it."""
        return FailingAlone(self, t)

    # -- evaluation ----------------------------------------------------------------------------------

    def _validate(self, step: int) -> None:
        """After the last epoch, and every `validate_every` epochs."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        due = not rest and (epoch % self.recipe.validate_every == 0 or step == self.steps)
        behind = [t for t in self.trainees if t.step == step and t.validated < step]
        if not due or not behind or not self.data.validation.clips:
            return
        scored, unreadable = self._evaluate(self.data.validation, behind, "validate")
        for t in behind:
            if t in self.trainees:
                t.note_validation(self.steps_per_epoch, scored[t.label].top1, unreadable)
        self.display.rows({t.label: self._row(t) for t in behind})
        self.display.begin("train", self.steps, step)

    def _evaluate(
        self, manifest: Manifest, trainees: list[Trainee], task: str, time_order: TimeOrder = "kept"
    ) -> tuple[dict[str, Scored], set[str]]:
        size = self.recipe.test_batch_size or self.recipe.batch_size
        loader = self._loader(manifest, size, train=False, time_order=time_order)
        self.display.begin(task, len(loader))
        try:
            scored, unreadable = evaluate(
                trainees,
                self.backbone,
                loader,
                self.precision,
                self.failing_alone,
                lambda done, total: self.display.advance(done),
                self.stop,
            )
        finally:
            loader.close()
        self.readability.end(task, unreadable, len(manifest.clips))
        return scored, unreadable

    def test(self) -> tuple[dict[str, tuple[Metrics, Scored]], set[str]]:
        """The test split, once, for every method that reached its last step: with the frames of each clip in
        their order, reversed and shuffled."""
        done = [t for t in self.trainees if t.step >= self.steps]
        if not done:
            return {}, set()
        scored, unreadable = self._evaluate(self.data.test, done, "test")
        backwards, _ = self._evaluate(self.data.test, done, "test, frames reversed", "reversed")
        shuffled, _ = self._evaluate(self.data.test, done, "test, frames shuffled", "shuffled")
        out = {}
        for t in [t for t in done if t in self.trainees]:
            with self.failing_alone(t):
                orders = {
                    "top1_reversed": self._metrics(backwards[t.label]).top1,
                    "top1_shuffled": self._metrics(shuffled[t.label]).top1,
                }
                metrics = self._metrics(scored[t.label], t.validation_top1).model_copy(update=orders)
                out[t.label] = (metrics, scored[t.label])
        return out, unreadable

    def _metrics(self, s: Scored, validation_top1: float | None = None) -> Metrics:
        data = self.data
        if data.config.heads:
            return compute_head_metrics(s.scores, s.labels, data.config.heads, validation_top1)
        return compute_metrics(s.scores, s.labels, data.class_names, data.pairs, validation_top1)
