"""Batches of clips, decoded in worker processes, and augmented there or on the device.

What a batch holds is a function of (seed, epoch, position in the manifest) alone: every random draw has its
own counter-based generator. So the number of workers, the batch that an epoch starts from and what was
loaded before change nothing, and a resumed run sees the clips that it would have seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import forkserver
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from petl_bench.data.augment import draw_view, spatial_views, transform
from petl_bench.data.batch import Batch
from petl_bench.data.blame import DecodeError, decoded
from petl_bench.data.children import become_child, children_context, children_deaf_to_interrupts, one_thread
from petl_bench.data.decode import decoder_name, silence_decoders
from petl_bench.data.manifest import Manifest
from petl_bench.data.packed import Decoded, PackedClips
from petl_bench.data.prepared import PreparedCache, open_clip
from petl_bench.data.sampling import train_indices, view_indices
from petl_bench.dataset_config import DatasetConfig
from petl_bench.machine import MachineError, errors_of_machine, tried_again

TimeOrder = Literal["kept", "reversed", "shuffled"]
AugmentOn = Literal["workers", "device"]
Key = tuple[int, int]  # epoch, position in the manifest

ORDER, CLIP, SHUFFLE = range(3)  # purposes of random draws: their streams have nothing in common


class ClipReader(Dataset[Batch | MachineError]):
    """Reads single clips, and transforms them or packs them for the device to do so; what the workers hold."""

    def __init__(
        self,
        manifest: Manifest,
        config: DatasetConfig,
        size: int,
        seed: int,
        train: bool,
        decoder: str,
        time_order: TimeOrder,
        augment_on: AugmentOn,
        prepared: PreparedCache | None = None,
    ) -> None:
        self.prepared = prepared
        self.clips, self.config, self.size, self.seed = manifest.clips, config, size, seed
        self.train, self.decoder, self.time_order, self.augment_on = train, decoder, time_order, augment_on
        views = () if train else (config.views.temporal * config.views.spatial,)
        self.shape = (*views, config.sampling.frames, 3, size, size)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | MachineError:
        """The batch of some clips. DataLoader calls this once for each batch.

        An error of the machine is returned: DataLoader would raise one in a process as another in this one.
        """
        try:
            with errors_of_machine("a batch of clips"):
                return self._batch(keys)
        except MachineError as error:
            return error

    def _batch(self, keys: Sequence[Key]) -> Batch:
        begin = time.perf_counter()
        kept: list[int] = []
        unreadable: list[str] = []
        clips = self._finish(self._readable(keys, kept, unreadable))
        labels = torch.tensor([self.clips[index].label for index in kept], dtype=torch.int64)
        indices = torch.tensor(kept, dtype=torch.int64)
        return Batch(clips, labels, indices, tuple(unreadable), time.perf_counter() - begin)

    def _readable(self, keys: Sequence[Key], kept: list[int], unreadable: list[str]) -> Iterator[Decoded]:
        """The clips that can be read, one by one; notes the positions of these and the ids of the others."""
        for epoch, index in keys:
            try:
                clip = tried_again(partial(self._read, epoch, index))
            except DecodeError:
                unreadable.append(self.clips[index].id)
                continue
            kept.append(index)
            yield clip

    def _read(self, epoch: int, index: int) -> Decoded:
        with errors_of_machine(self.clips[index].path):
            return decoded(partial(self.read, epoch, index))

    def read(self, epoch: int, index: int) -> Decoded:
        """One clip. Raises DecodeError and MachineError."""
        rng = generator(CLIP, self.seed, epoch, index)
        sampling, views = self.config.sampling, self.config.views
        clip = self.clips[index]
        with open_clip(clip, self.decoder, self.prepared) as video:
            first, end = 0, video.frame_count
            if clip.start is not None and clip.stop is not None:
                first, end = video.frame_range(clip.start, clip.stop)
            if self.train:
                wanted = first + train_indices(end - first, sampling, rng)[None]
            else:
                wanted = first + view_indices(end - first, sampling, views.temporal)
            unique, places = np.unique(
                wanted, return_inverse=True
            )  # a frame of several views is decoded once
            pixels = video.frames(unique.tolist())
        places = places.reshape(wanted.shape)  # (views, T)
        if self.time_order == "reversed":
            places = places[:, ::-1]
        elif self.time_order == "shuffled":
            shuffle = generator(SHUFFLE, self.seed, epoch, index)
            places = np.stack([shuffle.permutation(row) for row in places])
        drawn = None
        if self.train:
            height, width = pixels.shape[1:3]
            drawn = draw_view(height, width, self.config.augment, self.size, rng)
        return Decoded(pixels, places, drawn)

    def _finish(self, clips: Iterator[Decoded]) -> Tensor | PackedClips:
        spatial, interpolation = self.config.views.spatial, self.config.interpolation
        if self.augment_on == "device":
            return PackedClips.of(clips, self.shape, spatial, interpolation)
        done = [self._transformed(clip) for clip in clips]
        return torch.stack(done) if done else torch.empty((0, *self.shape), dtype=torch.uint8)

    def _transformed(self, clip: Decoded) -> Tensor:
        """(T, 3, S, S) for training, (V, T, 3, S, S) for tests."""
        frames, interpolation = torch.from_numpy(clip.pixels).permute(0, 3, 1, 2), self.config.interpolation
        if clip.drawn is not None:
            return transform(frames, clip.drawn, self.size, interpolation)[clip.places[0].copy()]
        # (spatial, unique, 3, S, S)
        cropped = spatial_views(frames, self.size, self.config.views.spatial, interpolation)
        return torch.stack([crop[row.copy()] for row in clip.places for crop in cropped])


class _Plan:
    """The batches of the epoch that comes next; what DataLoader takes for a batch sampler."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Loader:
    """The batches of a split, epoch by epoch.

    Args:
        manifest: the clips.
        config: sampling, augmentation and test views.
        size: S, input size of the network, pixels.
        batch_size: clips of a batch.
        seed: of order, frames, crops and flips.
        train: random order, frames and augmentation, whole batches; or fixed test views of every clip.
        workers: processes that decode, kept for all epochs; 0 decodes in this one.
        decoder: "auto", "decord", "pyav" or "torchcodec".
        time_order: of the frames of each clip; "shuffled" draws an order for each clip and view.
        pin_memory: hand out batches in page-locked memory.
        augment_on: "workers", or "device": what is drawn for a clip is carried out by `Batch.to_device`.
        prepared: frames that are used instead of the videos where it holds a clip.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: DatasetConfig,
        *,
        size: int,
        batch_size: int,
        seed: int,
        train: bool,
        workers: int,
        decoder: str = "auto",
        time_order: TimeOrder = "kept",
        pin_memory: bool = False,
        augment_on: AugmentOn = "workers",
        prepared: PreparedCache | None = None,
    ) -> None:
        self.manifest, self.batch_size, self.seed, self.train = manifest, batch_size, seed, train
        decoder = decoder_name(decoder)
        self._reader = ClipReader(
            manifest, config, size, seed, train, decoder, time_order, augment_on, prepared
        )
        self._plan = _Plan()
        self._pin_memory = pin_memory
        self._workers: DataLoader[Batch | MachineError] | None = self._start(workers) if workers else None
        self._batches: Iterator[Batch | MachineError] = iter(())
        self._turn = 0
        silence_decoders()

    def _start(self, workers: int) -> DataLoader[Batch | MachineError]:
        return DataLoader(
            self._reader,
            batch_sampler=self._plan,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=self._pin_memory,
            multiprocessing_context=children_context(__name__),
            persistent_workers=True,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # or it would draw from the global one
        )

    def __len__(self) -> int:
        """Batches of an epoch. Training drops an incomplete last batch, unless it is the only one."""
        whole, rest = divmod(len(self.manifest.clips), self.batch_size)
        return whole + (1 if rest and (not self.train or not whole) else 0)

    def order(self, epoch: int) -> list[int]:
        """Positions in the manifest in the order of an epoch."""
        count = len(self.manifest.clips)
        if not self.train:
            return list(range(count))
        order: list[int] = generator(ORDER, self.seed, epoch, 0).permutation(count).tolist()
        return order

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches `start`, `start` + 1, ... of an epoch. A newer epoch of the same loader ends an older
        one: going on with the older raises RuntimeError. Raises MachineError where the machine fails, also a worker."""
        order = self.order(epoch)
        batches = [
            [(epoch, index) for index in order[first : first + self.batch_size]]
            for first in range(start * self.batch_size, len(self) * self.batch_size, self.batch_size)
        ]
        self._turn += 1
        return self._iterate(batches, self._turn)

    def _iterate(self, batches: list[list[Key]], turn: int) -> Iterator[Batch]:
        self._check(turn)
        if self._workers is not None and batches:
            self._plan.batches = batches
            with children_deaf_to_interrupts(), _workers_that_fail():
                self._batches = iter(self._workers)
        elif batches:
            self._batches = (self._read_here(keys) for keys in batches)
        for _ in batches:
            self._check(turn)
            with _workers_that_fail() if self._workers else nullcontext():
                batch = next(self._batches)
            if isinstance(batch, MachineError):
                raise batch
            yield batch

    def _read_here(self, keys: list[Key]) -> Batch | MachineError:
        with one_thread():
            batch = self._reader.__getitems__(keys)
        return batch.pin_memory() if self._pin_memory and isinstance(batch, Batch) else batch

    def _check(self, turn: int) -> None:
        if turn != self._turn:
            raise RuntimeError("this epoch was ended by a newer one of the same loader, or by close()")

    def close(self) -> None:
        """End the workers."""
        self._turn += 1
        self._batches = iter(())
        self._workers = None


def expect_workers() -> None:
    """Let what workers need be imported while this process does other things: 2 to 3 seconds."""
    if children_context(__name__).get_start_method() == "forkserver":
        with children_deaf_to_interrupts():
            forkserver.ensure_running()


def generator(purpose: int, seed: int, epoch: int, index: int) -> np.random.Generator:
    """A generator of its own for each (purpose, seed, epoch, index)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((purpose, seed, epoch, index))))


@contextmanager
def _workers_that_fail() -> Iterator[None]:
    """A worker that is killed, and memory or files that run out between it and this process, are the machine's."""
    try:
        with errors_of_machine("the processes that read clips"):
            yield
    except (RuntimeError, EOFError, FileNotFoundError, BrokenPipeError) as error:
        # DataLoader notices that a worker is gone, or the connection does over which it hands tensors
        why = str(error).split("\n")[0]
        if isinstance(error, RuntimeError) and "DataLoader worker" not in why:
            raise
        raise MachineError(
            f"a process that reads clips is gone: {why or type(error).__name__}. Fewer --workers take less memory; "
            "`petl-bench datasets check` finds clips that crash the decoder"
        ) from error


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    become_child()
    silence_decoders()
