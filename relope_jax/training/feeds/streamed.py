"""States that stream from the store: batches are read and padded ahead of the step that needs them."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.batch import TokenBatch, pad, widened
from relope_jax.block.spec import Block
from relope_jax.machine import mesh as meshes
from relope_jax.methods import TrainedMethod
from relope_jax.models.probes import Parts
from relope_jax.precision import jit
from relope_jax.states.view import StoreStates
from relope_jax.training.feeds.buckets import Batches, sorted_batches
from relope_jax.training.feeds.resident import ResidentFeed, last_token_feed
from relope_jax.training.members import Hyper
from relope_jax.training.step import Ensemble, Epoch, EpochPlan, Examples, Terms, gradients, update

SCORED = 64  # samples a batch
AHEAD = 4  # batches that are read ahead, or being read
READERS = 2  # threads; TensorStore decodes in threads of its own, these pad and copy


class StreamedFeed:
    """A `Feed` that reads every batch from a store; every process reads only its own share of a batch."""

    def __init__(self, states: StoreStates, labels: Int[np.ndarray, "samples"], block: Block, mesh: Mesh):
        self.states, self.labels, self.block, self.mesh = states, labels.astype(np.float32), block, mesh
        self.lengths = states.lengths

    @property
    def description(self) -> str:
        return f"states: streamed from the store, {self.states.nbytes / 1e6:.0f} MB"

    def of(self, method: TrainedMethod) -> StreamedFeed | ResidentFeed:
        if method.reads_tokens:
            return self
        return last_token_feed(self.states.last_hidden(), self.labels, self.block, self.mesh)

    def epoch(self, ensemble: Ensemble, plan: EpochPlan) -> Epoch:
        input_clock = Clock()
        parts = plan.parts
        running, progress = meshes.everywhere(self.mesh, (plan.running, list(plan.progress)))
        pending: list[Terms] = []
        done: list[dict[str, np.ndarray]] = []
        for (batch, examples), passed in zip(input_clock.timed(self._batches(plan.batches)), progress, strict=True):
            with jax.transfer_guard("log"):
                ensemble, terms = run_step(
                    ensemble, parts.settings, parts.rest, plan.hyper, running, batch, examples, passed,
                    graphdef=parts.graphdef, mesh=self.mesh,
                )  # fmt: skip
            pending.append(terms)
            if len(pending) > 1:  # of the step before, so that the device never waits for this look
                done.append(meshes.to_host(pending.pop(0)))
                if not np.isfinite(done[-1]["loss"][plan.running]).all():
                    break
        done += [meshes.to_host(terms) for terms in pending]
        stacked = {name: np.stack([terms[name] for terms in done]) for name in done[0]}
        return Epoch(ensemble, stacked, input_clock.waited)

    def logits(self, parts: Parts, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
        size = -(-min(SCORED, len(rows)) // self.mesh.size) * self.mesh.size
        batches, place = sorted_batches(rows, self.lengths, size)
        scored: list[np.ndarray] = []
        pending: Array | None = None
        for batch, _ in self._batches(batches):
            logits = score_batch(
                parts.params, parts.settings, parts.rest, batch, graphdef=parts.graphdef, mesh=self.mesh
            )
            if pending is not None:  # the batch before, so that few batches are on the device
                scored.append(meshes.to_host(pending))
            pending = logits
        scored.append(meshes.to_host(pending))
        return np.concatenate(scored, axis=1)[:, place]

    def _batches(self, batches: Batches) -> Iterator[tuple[TokenBatch, Examples]]:
        """The batches in order, on the device; `AHEAD` of them are read while others are computed."""
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            started: collections.deque[concurrent.futures.Future] = collections.deque()
            try:
                for rows, weights, bucket in zip(batches.rows, batches.weights, batches.bucket, strict=True):
                    started.append(pool.submit(self._read, rows, weights, batches.widths[bucket]))
                    if len(started) == AHEAD:
                        yield started.popleft().result()
                while started:
                    yield started.popleft().result()
            finally:
                for future in started:
                    future.cancel()

    def _read(self, rows: np.ndarray, weights: np.ndarray, width: int) -> tuple[TokenBatch, Examples]:
        mine = meshes.own_part(self.mesh, len(rows))
        rows = rows[mine]
        batch = pad(self.states.select(rows), width)
        examples: list[Any] = [self.labels[rows], weights[mine]]
        return meshes.shared_parts(self.mesh, (batch, Examples(*examples)))


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


@functools.partial(jit, static_argnames=("graphdef", "mesh"), donate_argnums=0)
def run_step(
    ensemble: Ensemble,
    settings: nnx.State,
    rest: nnx.State,
    hyper: Hyper,
    running: Bool[Array, "members"],
    batch: TokenBatch,
    examples: Examples,
    progress: Float[Array, ""],
    *,
    graphdef: nnx.GraphDef,
    mesh: Mesh,
) -> tuple[Ensemble, Terms]:
    """One step on a batch that was read; compiled once a width."""
    parts = Parts(graphdef, ensemble.params, settings, rest)
    gradient, terms = gradients(ensemble, parts, hyper, widened(batch), examples, progress)
    ensemble = update(ensemble, gradient, terms["gradient_norm"], hyper, running)
    return meshes.replicate(mesh, (ensemble, terms))


@functools.partial(jit, static_argnames=("graphdef", "mesh"))
def score_batch(
    params: nnx.State, settings: nnx.State, rest: nnx.State, batch: TokenBatch, *, graphdef: nnx.GraphDef, mesh: Mesh
) -> Float[Array, "members batch"]:
    """Log-odds of every member for one batch."""
    batch = widened(batch)
    logits = jax.vmap(lambda p, s: nnx.merge(graphdef, p, s, rest)(batch).logit)(params, settings)
    return meshes.replicate(mesh, logits)
