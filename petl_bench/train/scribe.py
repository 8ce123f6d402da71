"""Writing down what a lockstep did: records, configs, logs and trained weights."""

from __future__ import annotations

import torch

from petl_bench import __version__, provenance
from petl_bench.adapter_file import Adapter, adapter_bytes
from petl_bench.costs import Profile, profile
from petl_bench.data import decoder_version
from petl_bench.records import Clips, Cost, Metrics, Provenance, RunRecord
from petl_bench.results import write_atomic
from petl_bench.train.evaluate import Scored
from petl_bench.train.lockstep import Lockstep
from petl_bench.train.memory import memory_source
from petl_bench.train.trainee import Trainee


class Scribe:
    """Writes the folders of a lockstep's runs.

    `decoder` is the name that the runs were asked to decode with.
    """

    def __init__(self, lockstep: Lockstep, decoder: str) -> None:
        self.lockstep, self.data, self.backbone = lockstep, lockstep.data, lockstep.backbone
        self.static: dict[str, Profile] = {}
        commit, dirty = provenance.git_state()
        self.base = {
            "petl_bench": __version__,
            "git_commit": commit,
            "git_dirty": dirty,
            "python": provenance.python_version(),
            "packages": provenance.package_versions(),
            "platform": provenance.platform_name(),
            "device": provenance.device_name(str(lockstep.device)),
            "threads": torch.get_num_threads(),
            "precision": str(lockstep.precision).removeprefix("torch."),
            "decoder": decoder_version(decoder),
            "augment_on": lockstep.augment_on,
            "prepared": lockstep.prepared.provenance(self.data) if lockstep.prepared else None,
            "backbone_sha256": self.backbone.weights_sha256(),
            "data_sha256": self.data.sha256,
            "companions": [t.label for t in lockstep.all],
        }

    def _record(self, t: Trainee, status: str, **more: object) -> RunRecord:
        c = t.config
        return RunRecord.model_validate(
            {
                "status": status,
                "suite": c.suite,
                "dataset": c.dataset.name,
                "label": c.method.label,
                "method": c.method.name,
                "backbone": c.backbone.name,
                "seed": c.seed,
                "settings": t.method.settings.model_dump(mode="json"),
                "order_blind": t.method.order_blind,
                "selection": c.selection,
                "config": c.model_dump(mode="json"),
                **more,
            }
        )

    def _provenance(self, t: Trainee, test_unreadable: set[str], ended: str | None) -> Provenance:
        old = t.folder.read_record()
        started = old.provenance.started if old and old.provenance else provenance.now()
        splits = {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}
        broken = {"train": t.unreadable, "validation": t.validation_unreadable, "test": test_unreadable}
        clips = {
            name: Clips(
                used=len(m.clips) - len(broken[name]), skipped=m.skipped, unreadable=len(broken[name])
            )
            for name, m in splits.items()
        }
        return Provenance.model_validate(
            {
                **self.base,
                "clips": clips,
                "lockstep_seconds": round(t.spent.lockstep, 3),
                "started": started,
                "ended": ended,
                "sessions": t.spent.sessions,
            }
        )

    def begin(self, t: Trainee) -> None:
        """The record says that the run is under way; its static costs are counted before anything is spent."""
        t.folder.error_file.unlink(missing_ok=True)
        t.folder.write_config(t.config)
        self.static[t.label] = profile(t.model, t.config.dataset.sampling.frames, self.backbone.image_size)
        t.folder.write_record(self._record(t, "running", provenance=self._provenance(t, set(), None)))

    def fail(self, t: Trainee) -> None:
        t.write_log()
        ended = provenance.now()
        t.folder.write_record(
            self._record(t, "failed", error=t.error, provenance=self._provenance(t, set(), ended))
        )

    def finish(self, t: Trainee, tested: tuple[Metrics, Scored] | None, unreadable: set[str]) -> None:
        adapter = adapter_bytes(Adapter(t.config.method.name, t.label, t.model.state_dict()))
        write_atomic(t.folder.adapter_file, adapter)
        t.write_log()
        metrics, cost = None, None
        if tested:
            metrics, scored = tested
            cost = self._cost(t, scored, len(adapter))
        record = self._record(
            t,
            "done",
            metrics=metrics,
            cost=cost,
            provenance=self._provenance(t, unreadable, provenance.now()),
        )
        t.folder.write_record(record)
        t.folder.checkpoint_file.unlink(missing_ok=True)

    def _cost(self, t: Trainee, scored: Scored, adapter_bytes: int) -> Cost:
        dataset, spent = t.config.dataset, t.spent
        static = self.static[t.label]
        views = dataset.views.temporal * dataset.views.spatial
        compute, workers = spent.own + spent.prefix, self.lockstep.workers
        alone = max(compute + spent.augment, spent.decode / workers) if workers else compute + spent.data
        step_ms = float(torch.tensor(spent.steps_ms).median()) if spent.steps_ms else 0.0
        return Cost(
            trainable_params=static.trainable_params,
            trainable_params_without_head=static.trainable_params_without_head,
            total_params=static.total_params,
            gflops_per_view=static.gflops_per_view,
            views=views,
            gflops=static.gflops_per_view * views,
            peak_memory_mb=round(spent.peak_memory_mb, 3),
            peak_memory_source=memory_source(self.lockstep.device),
            compute_seconds=round(compute, 3),
            prefix_seconds=round(spent.prefix, 3),
            data_seconds=round(spent.data, 3),
            alone_seconds=round(alone, 3),
            step_ms=round(step_ms, 3),
            train_clips_per_second=round(1000 * t.config.recipe.batch_size / step_ms, 2) if step_ms else 0.0,
            test_clips_per_second=round(len(scored.labels) / scored.seconds, 2),
            adapter_bytes=adapter_bytes,
        )
