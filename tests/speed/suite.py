"""What a lockstep of N methods costs: against its floor, N runs alone, and N runs of a plain loop.

    python tests/speed/suite.py --data embedded --out results/speed/suite_embedded.json
    python tests/speed/suite.py --data kinetics --clips 48 --out results/speed/suite_kinetics.json
    python tests/speed/suite.py --data kinetics --clips 512 --backbone clip_vit_b16 --batch 32    # on a GPU

`embedded` is `synth_motion` with the recipe of the suite `demo`; `kinetics` are clips of Kinetics size (340x256, 300
frames, H.264), encoded here, with the protocol of `k400`. Seconds are wall-clock of training alone, one after the
other in this run. `floor` is what no loop can undercut: the methods' own compute and the frozen prefix once, and of one
pass over the data what cannot hide behind that (all of it without workers). `plain` is plain.py: PyAV decodes every
frame of every clip anew for each method, the whole network in every step, the same number of workers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

if __name__ != "__mp_main__":  # a worker imports this file too, and would wait for what it does not need
    import made_clips
    import torch
    import yaml
    from measured import machine, synchronised, write
    from plain import PlainReader, plain_optimizer, plain_step
    from torch.utils.data import DataLoader

    from petl_bench.backbone import VideoViT, load_backbone
    from petl_bench.config import RunConfig
    from petl_bench.data import Loader, VideoData, open_data
    from petl_bench.method import build, make_method
    from petl_bench.records import RunRecord
    from petl_bench.suite import PAPER_METHODS, Request, expand
    from petl_bench.train.run import Options, run_all

CLASSES = 4


def kinetics_like(folder: Path, clips: int) -> Path:
    """Class folders of clips of Kinetics size, and the data set's YAML. Eight scenes repeat: it costs the same."""
    kind = next(k for k in made_clips.KINDS if k.name == "kinetics-h264")
    files = [
        made_clips.write(folder / f"scene{i}.mp4", made_clips.scene(kind, i), kind)
        for i in range(min(8, clips))
    ]
    for split, count in (("train", clips), ("test", CLASSES)):
        for i in range(count):
            place = folder / split / f"class{i % CLASSES}" / f"{i}.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[i % len(files)].read_bytes())
    config = {
        "summary": "clips of Kinetics size",
        "classes": CLASSES,
        "source": {"kind": "folders"},
        "root": str(folder),
        "sampling": {"frames": 8, "mode": "dense", "stride": 16},
        "interpolation": "bicubic",
        "augment": {"crop": "jitter", "flip": True},
        "backbone": "tiny_clip",
        "recipe": {"epochs": 1, "batch_size": 8},
    }
    file = folder / "kinetics_like.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def data_pass(config: RunConfig, data: VideoData, backbone: VideoViT, workers: int) -> float:
    """Seconds of reading every training batch of the run, and nothing else."""
    options = {"size": backbone.image_size, "batch_size": config.recipe.batch_size, "seed": 0, "train": True}
    device = next(backbone.parameters()).device.type
    options |= {"augment_on": config.recipe.augments_on(device), "pin_memory": device == "cuda"}
    loader = Loader(data.train, config.dataset, workers=workers, **options)  # type: ignore[arg-type]
    next(loader.epoch(0))  # starts the workers
    begin = time.perf_counter()
    for epoch in range(config.recipe.epochs):
        for _ in loader.epoch(epoch):
            pass
    seconds = time.perf_counter() - begin
    loader.close()
    return seconds


def train(configs: list[RunConfig], args: argparse.Namespace) -> list[RunRecord]:
    with tempfile.TemporaryDirectory() as out:
        options = Options(Path(out), device=str(args.device), workers=args.workers)
        records = run_all(configs, options)
    if failed := [r.error for r in records if r.status == "failed"]:
        raise SystemExit(f"a run failed: {failed[0]}")
    return records


def wall(records: list[RunRecord]) -> float:
    return max(r.provenance.lockstep_seconds for r in records if r.provenance)


def plain_run(config: RunConfig, data: VideoData, backbone: VideoViT, args: argparse.Namespace) -> float:
    """Seconds of training a method in a plain loop."""
    files = [(clip.path, clip.label) for clip in data.train.clips]
    sampling = config.dataset.sampling
    reader = PlainReader(files, backbone.image_size, sampling.stride if sampling.mode == "dense" else None)
    torch.manual_seed(0)
    loader: DataLoader[tuple[torch.Tensor, torch.Tensor]] = DataLoader(
        reader, config.recipe.batch_size, shuffle=True, drop_last=True, num_workers=args.workers,
        persistent_workers=args.workers > 0, multiprocessing_context="forkserver" if args.workers else None,
    )  # fmt: skip
    model = build(make_method(config.method.name), backbone, config.dataset.outputs).train()
    optimizer = plain_optimizer(model)
    precision = torch.bfloat16 if args.device.type == "cuda" else torch.float32
    if args.workers:
        next(iter(loader))
    begin = synchronised(args.device)
    for _ in range(config.recipe.epochs):
        for views, labels in loader:
            frames = views[:, 0].transpose(1, 2).flatten(0, 1).to(args.device)  # (B*T, 3, S, S)
            plain_step(model, optimizer, frames, labels.to(args.device), precision)
    return synchronised(args.device) - begin


def configs_of(args: argparse.Namespace, folder: Path) -> Callable[[list[str]], list[RunConfig]]:
    changes = [f"recipe.batch_size={args.batch}", f"recipe.epochs={args.epochs}", "recipe.validation=0"]
    if args.data == "kinetics":
        file = str(kinetics_like(folder, args.clips))
        weights = ["backbone.weights=random"] if args.backbone != "tiny_clip" else []
        return lambda methods: expand(Request(None, methods, [file], args.backbone, None, changes + weights))
    changes += [f"dataset.source.train_clips={args.clips}", "dataset.source.test_clips=16"]
    return lambda methods: expand(Request("demo", methods, None, args.backbone, None, changes))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["embedded", "kinetics"], default="embedded")
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--backbone", default="tiny_clip")
    parser.add_argument("--methods", default=",".join(PAPER_METHODS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-plain", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the encoded clips here")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    methods = args.methods.split(",")
    keep: AbstractContextManager[str] = (
        nullcontext(str(args.folder)) if args.folder else tempfile.TemporaryDirectory()
    )
    with keep as name:
        folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        make = configs_of(args, folder)
        configs = make(methods)
        data = open_data(configs[0].dataset, 0)  # renders
        backbone = load_backbone(configs[0].backbone).to(args.device)
        train(make(["linear_probe"]), args)  # what is first is slower

        together = train(configs, args)
        passed = data_pass(configs[0], data, backbone, args.workers)
        costs = {r.label: r.cost for r in together if r.cost}
        if len(costs) < len(configs):
            raise SystemExit("a record has no costs")
        own = sum(c.compute_seconds - c.prefix_seconds for c in costs.values())
        prefix = max(c.prefix_seconds for c in costs.values())
        floor = max(own + prefix, passed) if args.workers else own + prefix + passed
        rows = []
        for config in configs:
            alone = wall(train([config], args))
            plain = None if args.skip_plain else plain_run(config, data, backbone, args)
            rows.append({"method": config.method.label, "alone s": alone, "plain s": plain})
        lockstep = wall(together)
    total = {"method": f"all {len(rows)}", "alone s": sum(r["alone s"] for r in rows)}
    total["plain s"] = None if args.skip_plain else sum(r["plain s"] for r in rows)
    summary = {
        "lockstep s": round(lockstep, 2),
        "own compute s": round(own, 2),
        "prefix once s": round(prefix, 2),
        "data pass s": round(passed, 2),
        "floor / lockstep": round(floor / lockstep, 3),
        "alone / lockstep": round(total["alone s"] / lockstep, 2),
        "plain / lockstep": None if args.skip_plain else round(total["plain s"] / lockstep, 2),
    }
    settings = {k: str(v) for k, v in vars(args).items() if k not in ("out", "folder", "skip_plain")}
    rows.append(total)
    for key, value in summary.items():
        print(f"{key}: {value}")
    write({"machine": machine(args.device), "settings": settings, "summary": summary}, rows, args.out)


if __name__ == "__main__":
    main()
