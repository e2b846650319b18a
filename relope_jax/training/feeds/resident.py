"""States that live on the device: an epoch is one compiled program that cuts its batches out of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.batch import DeviceStates, gather, with_key_cache
from relope_jax.block.spec import Block
from relope_jax.machine import mesh as meshes
from relope_jax.methods import TrainedMethod
from relope_jax.models.probes import Parts
from relope_jax.precision import jit
from relope_jax.states.ragged import TokenStates
from relope_jax.training.feeds.buckets import sorted_batches
from relope_jax.training.members import Hyper
from relope_jax.training.step import Ensemble, Epoch, EpochPlan, Examples, Terms, gradients, update

SCORED = 128  # samples a batch


@dataclasses.dataclass(frozen=True)
class ResidentFeed:
    """A `Feed` of states on the device; every device of the mesh holds all of them."""

    states: DeviceStates
    labels: Float[Array, "samples"]
    lengths: Int[np.ndarray, "samples"]
    mesh: Mesh
    block: Block
    key_cache: bool

    @property
    def description(self) -> str:
        size = self.states.hidden.nbytes / 1e6
        return f"states: resident on {_devices(self.mesh)}, {size:.0f} MB"

    def of(self, method: TrainedMethod) -> ResidentFeed:
        if not method.reads_tokens:
            return last_token_feed(self.states.last_hidden, self.labels, self.block, self.mesh)
        if method.reads_block and self.key_cache and self.states.cache is None:
            return dataclasses.replace(self, states=with_key_cache(self.states, self.block))
        return self

    def epoch(self, ensemble: Ensemble, plan: EpochPlan) -> Epoch:
        batches, parts = plan.batches, plan.parts
        rows, weights = meshes.shared(self.mesh, (batches.rows, batches.weights), axis=1)
        bucket, progress, running = meshes.everywhere(self.mesh, (batches.bucket, plan.progress, plan.running))
        with jax.transfer_guard("log"):
            ensemble, terms = run_epoch(
                ensemble, parts.settings, parts.rest, plan.hyper, running, self.states, self.labels,
                rows, weights, bucket, progress,
                graphdef=parts.graphdef, widths=batches.widths, mesh=self.mesh,
            )  # fmt: skip
        return Epoch(ensemble, meshes.to_host(terms))

    def logits(self, parts: Parts, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
        size = -(-min(SCORED, len(rows)) // self.mesh.size) * self.mesh.size
        batches, place = sorted_batches(rows, self.lengths, size)
        on_device = meshes.shared(self.mesh, batches.rows, axis=1), meshes.everywhere(self.mesh, batches.bucket)
        logits = score_batches(
            parts.params, parts.settings, parts.rest, self.states, *on_device,
            graphdef=parts.graphdef, widths=batches.widths, mesh=self.mesh,
        )  # fmt: skip
        return meshes.to_host(logits)[:, place]


def resident_feed(
    states: TokenStates, labels: Int[np.ndarray, "samples"], block: Block, mesh: Mesh, *, key_cache: bool = True
) -> ResidentFeed:
    """Move states to the devices of the mesh."""
    starts, ends = states.offsets[:-1].astype(np.int32), states.offsets[1:].astype(np.int32)
    arrays: list[Any] = [states.hidden, states.positions, starts, ends, states.last_hidden]
    here, truth = meshes.everywhere(mesh, (DeviceStates(*arrays), labels.astype(np.float32)))
    return ResidentFeed(here, truth, states.lengths, mesh, block, key_cache)


def last_token_feed(
    last_hidden: Float[Array | np.ndarray, "samples d"],
    labels: Float[Array | np.ndarray, "samples"],
    block: Block,
    mesh: Mesh,
) -> ResidentFeed:
    """The feed of a method that reads z_n^(l) only: one token of padding stands for every prompt."""
    n, d = last_hidden.shape
    none, token = jnp.zeros(n, jnp.int32), jnp.zeros((1, 1), jnp.int32)
    states = DeviceStates(jnp.zeros((1, d)), token, none, none, jnp.asarray(last_hidden))
    here, truth = meshes.everywhere(mesh, (states, labels))
    return ResidentFeed(here, truth, np.ones(n, np.int64), mesh, block, key_cache=False)


@functools.partial(jit, static_argnames=("graphdef", "widths", "mesh"), donate_argnums=0)
def run_epoch(
    ensemble: Ensemble,
    settings: nnx.State,
    rest: nnx.State,
    hyper: Hyper,
    running: Bool[Array, "members"],
    states: DeviceStates,
    labels: Float[Array, "samples"],
    rows: Int[Array, "steps batch"],
    weights: Float[Array, "steps batch"],
    bucket: Int[Array, "steps"],
    progress: Float[Array, "steps"],
    *,
    graphdef: nnx.GraphDef,
    widths: tuple[int, ...],
    mesh: Mesh,
) -> tuple[Ensemble, Terms]:
    """All steps of an epoch in one scan; a step's bucket chooses the width it is computed at."""
    parts = Parts(graphdef, ensemble.params, settings, rest)

    def step(ensemble: Ensemble, inputs: tuple[Array, Array, Array, Array]) -> tuple[Ensemble, Terms]:
        rows, weights, bucket, progress = inputs
        examples = Examples(labels[rows], weights)

        def at_width(n: int) -> tuple[nnx.State, Terms]:
            return gradients(ensemble, parts, hyper, gather(states, rows, n), examples, progress)

        gradient, terms = jax.lax.switch(bucket, [functools.partial(at_width, n) for n in widths])
        ensemble = update(ensemble, gradient, terms["gradient_norm"], hyper, running)
        return meshes.replicate(mesh, (ensemble, terms))

    return jax.lax.scan(step, ensemble, (rows, weights, bucket, progress))


@functools.partial(jit, static_argnames=("graphdef", "widths", "mesh"))
def score_batches(
    params: nnx.State,
    settings: nnx.State,
    rest: nnx.State,
    states: DeviceStates,
    rows: Int[Array, "steps batch"],
    bucket: Int[Array, "steps"],
    *,
    graphdef: nnx.GraphDef,
    widths: tuple[int, ...],
    mesh: Mesh,
) -> Float[Array, "members scored"]:
    """Log-odds of every member for all batches, one batch after the other."""

    def one_batch(inputs: tuple[Array, Array]) -> Array:
        rows, bucket = inputs

        def at_width(n: int) -> Array:
            batch = gather(states, rows, n)
            return jax.vmap(lambda p, s: nnx.merge(graphdef, p, s, rest)(batch).logit)(params, settings)

        return jax.lax.switch(bucket, [functools.partial(at_width, n) for n in widths])

    logits = jnp.moveaxis(jax.lax.map(one_batch, (rows, bucket)), 0, 1)
    return meshes.replicate(mesh, logits.reshape(logits.shape[0], -1))


def _devices(mesh: Mesh) -> str:
    kind = mesh.devices.flat[0].device_kind
    return f"{mesh.size} x {kind}" if mesh.size > 1 else kind
