"""States streamed from the store: batches are prefetched and padded in background threads."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.batch import TokenBatch, widened
from relope_jax.block.spec import Block
from relope_jax.machine import mesh as meshes
from relope_jax.methods import TrainedMethod
from relope_jax.models.padding import pad
from relope_jax.models.probes import Parts
from relope_jax.precision import jit
from relope_jax.states.view import StoreStates
from relope_jax.training.feeds.buckets import Batches, sorted_batches
from relope_jax.training.feeds.resident import ResidentFeed, last_token_feed
from relope_jax.training.members import Hyper
from relope_jax.training.step import (
    Epoch,
    EpochPlan,
    Examples,
    Metrics,
    OnBatch,
    TrainState,
    score_step,
    train_step,
)

SCORED = 64  # samples per batch
AHEAD = 4  # prefetched batches
READERS = 2  # threads for padding and copying; TensorStore decodes in its own threads


class StreamedFeed:
    """A `Feed` that reads every batch from a store; each process reads only its share of a batch."""

    def __init__(self, states: StoreStates, block: Block, mesh: Mesh):
        self.states, self.block, self.mesh = states, block, mesh
        self.lengths = states.lengths

    @property
    def description(self) -> str:
        return f"states: streamed from the store, {self.states.nbytes / 1e6:.0f} MB"

    def of(self, method: TrainedMethod) -> StreamedFeed | ResidentFeed:
        if method.reads_tokens:
            return self
        return last_token_feed(self.states.last_hidden(), self.block, self.mesh)

    def epoch(self, state: TrainState, plan: EpochPlan) -> Epoch:
        clock = Clock()
        running, progress = meshes.replicate(self.mesh, (plan.running, list(plan.progress)))
        pending: list[Metrics] = []
        done: list[dict[str, Float[np.ndarray, "members"]]] = []
        examples = [Examples(*step) for step in zip(*plan.examples, strict=True)]
        batches = clock.timed(self._read_ahead(plan.batches, examples))
        for (batch, examples_of_batch), passed in zip(batches, progress, strict=True):
            with jax.transfer_guard("log"):
                state, metrics = train_batch(
                    state, plan.parts, plan.hyper, running, batch, examples_of_batch, passed, mesh=self.mesh
                )
            pending.append(metrics)
            if len(pending) > 1:  # check the previous step, so that the device never waits
                done.append(meshes.to_host(pending.pop(0)))
                if not np.isfinite(done[-1]["loss"][plan.running]).all():
                    break
        done += [meshes.to_host(metrics) for metrics in pending]
        stacked = {name: np.stack([metrics[name] for metrics in done]) for name in done[0]}
        return Epoch(state, stacked, clock.waited)

    def logits(self, parts: Parts, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
        size = -(-min(SCORED, len(rows)) // self.mesh.size) * self.mesh.size
        batches, place = sorted_batches(rows, self.lengths, size)
        scored: list[np.ndarray] = []
        pending: Array | None = None
        for batch, _ in self._read_ahead(batches, [None] * len(batches.rows)):
            logits = score_batch(parts, batch, mesh=self.mesh)
            if pending is not None:  # fetch the previous batch, so that few batches are on the device
                scored.append(meshes.to_host(pending))
            pending = logits
        scored.append(meshes.to_host(pending))
        return np.concatenate(scored, axis=1)[:, place]

    def _read_ahead(self, batches: Batches, examples: Sequence[Any]) -> Iterator[tuple[TokenBatch, Any]]:
        """Yield the batches in order, on the device, each with its examples; prefetches `AHEAD` batches."""
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            started: collections.deque[concurrent.futures.Future] = collections.deque()
            try:
                for rows, bucket, of_batch in zip(batches.rows, batches.bucket, examples, strict=True):
                    started.append(pool.submit(self._read, rows, batches.widths[bucket], of_batch))
                    if len(started) == AHEAD:
                        yield started.popleft().result()
                while started:
                    yield started.popleft().result()
            finally:
                for future in started:
                    future.cancel()

    def _read(self, rows: Int[np.ndarray, "batch"], width: int, examples: Any) -> tuple[TokenBatch, Any]:
        mine = meshes.own_part(self.mesh, len(rows))
        batch = pad(self.states.select(rows[mine]), width)
        return meshes.sharded_parts(self.mesh, (batch, jax.tree.map(lambda x: x[mine], examples)))


@dataclasses.dataclass
class Clock:
    """Seconds spent waiting for items."""

    waited: float = 0.0

    def timed(self, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            asked = time.perf_counter()
            item = next(items, None)
            self.waited += time.perf_counter() - asked
            if item is None:
                return
            yield item


@functools.partial(jit, static_argnames="mesh", donate_argnums=0)
def train_batch(
    state: TrainState,
    parts: Parts,
    hyper: Hyper,
    running: Bool[Array, "members"],
    batch: TokenBatch,
    examples: Examples,
    progress: Float[Array, ""],
    *,
    mesh: Mesh,
) -> tuple[TrainState, Metrics]:
    """`train_step` on a batch from the store; compiled once per width."""
    return train_step(state, parts, hyper, running, read_batch(batch), examples, progress, mesh)


@functools.partial(jit, static_argnames="mesh")
def score_batch(parts: Parts, batch: TokenBatch, *, mesh: Mesh) -> Float[Array, "members batch"]:
    """`score_step` on a batch from the store."""
    return meshes.keep_replicated(mesh, score_step(parts, read_batch(batch)))


def read_batch(batch: TokenBatch) -> OnBatch:
    """An `OnBatch` for a padded batch; its states become float32 on the device."""
    return lambda compute: compute(widened(batch))
