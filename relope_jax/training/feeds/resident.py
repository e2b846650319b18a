"""States resident on the device: an epoch is one compiled program that gathers batches from them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.batch import DeviceStates, TokenBatch, gather, with_key_cache
from relope_jax.block.spec import AnyArray, Block
from relope_jax.machine import mesh as meshes
from relope_jax.methods import TrainedMethod
from relope_jax.models.probes import Parts
from relope_jax.precision import jit
from relope_jax.states.ragged import TokenStates
from relope_jax.training.feeds.buckets import sorted_batches
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

SCORED = 128  # samples per batch


@dataclasses.dataclass(frozen=True)
class ResidentFeed:
    """A `Feed` of states on the device, replicated on every device of the mesh."""

    states: DeviceStates
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
            return last_token_feed(self.states.last_hidden, self.block, self.mesh)
        if method.reads_block and self.key_cache and self.states.cache is None:
            return dataclasses.replace(self, states=with_key_cache(self.states, self.block))
        return self

    def epoch(self, state: TrainState, plan: EpochPlan) -> Epoch:
        rows, examples = meshes.sharded(self.mesh, (plan.batches.rows, plan.examples), axis=1)
        bucket, progress, running = meshes.replicate(self.mesh, (plan.batches.bucket, plan.progress, plan.running))
        with jax.transfer_guard("log"):
            state, metrics = train_epoch(
                state,
                plan.parts,
                plan.hyper,
                running,
                self.states,
                rows,
                bucket,
                examples,
                progress,
                widths=plan.batches.widths,
                mesh=self.mesh,
            )
        return Epoch(state, meshes.to_host(metrics))

    def logits(self, parts: Parts, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
        size = -(-min(SCORED, len(rows)) // self.mesh.size) * self.mesh.size
        batches, place = sorted_batches(rows, self.lengths, size)
        on_device = meshes.sharded(self.mesh, batches.rows, axis=1), meshes.replicate(self.mesh, batches.bucket)
        logits = score_batches(parts, self.states, *on_device, widths=batches.widths, mesh=self.mesh)
        return meshes.to_host(logits)[:, place]


def resident_feed(states: TokenStates, block: Block, mesh: Mesh, *, key_cache: bool = True) -> ResidentFeed:
    """Move states to the devices of the mesh."""
    starts, ends = states.offsets[:-1].astype(np.int32), states.offsets[1:].astype(np.int32)
    arrays: list[Any] = [states.hidden, states.positions, starts, ends, states.last_hidden]
    on_device = meshes.replicate(mesh, DeviceStates(*arrays))
    return ResidentFeed(on_device, states.lengths, mesh, block, key_cache)


def last_token_feed(last_hidden: Float[AnyArray, "samples d"], block: Block, mesh: Mesh) -> ResidentFeed:
    """The feed of a method that only reads z_n^(l); every prompt is one padding token."""
    n, d = last_hidden.shape
    none, token = jnp.zeros(n, jnp.int32), jnp.zeros((1, 1), jnp.int32)
    states = DeviceStates(jnp.zeros((1, d)), token, none, none, jnp.asarray(last_hidden))
    return ResidentFeed(meshes.replicate(mesh, states), np.ones(n, np.int64), mesh, block, key_cache=False)


@functools.partial(jit, static_argnames=("widths", "mesh"), donate_argnums=0)
def train_epoch(
    state: TrainState,
    parts: Parts,
    hyper: Hyper,
    running: Bool[Array, "members"],
    states: DeviceStates,
    rows: Int[Array, "steps batch"],
    bucket: Int[Array, "steps"],
    examples: Examples,
    progress: Float[Array, "steps"],
    *,
    widths: tuple[int, ...],
    mesh: Mesh,
) -> tuple[TrainState, dict[str, Float[Array, "steps members"]]]:
    """Run all steps of an epoch in one scan."""

    def step(
        state: TrainState, inputs: tuple[Int[Array, "batch"], Int[Array, ""], Examples, Float[Array, ""]]
    ) -> tuple[TrainState, Metrics]:
        rows, bucket, examples, progress = inputs
        on_batch = cut_batch(states, rows, bucket, widths)
        return train_step(state, parts, hyper, running, on_batch, examples, progress, mesh)

    return jax.lax.scan(step, state, (rows, bucket, examples, progress))


@functools.partial(jit, static_argnames=("widths", "mesh"))
def score_batches(
    parts: Parts,
    states: DeviceStates,
    rows: Int[Array, "steps batch"],
    bucket: Int[Array, "steps"],
    *,
    widths: tuple[int, ...],
    mesh: Mesh,
) -> Float[Array, "members scored"]:
    """Log-odds of every member for all batches, computed sequentially."""

    def one_batch(inputs: tuple[Int[Array, "batch"], Int[Array, ""]]) -> Float[Array, "members batch"]:
        return score_step(parts, cut_batch(states, *inputs, widths))

    logits = jnp.moveaxis(jax.lax.map(one_batch, (rows, bucket)), 0, 1)
    return meshes.keep_replicated(mesh, logits.reshape(logits.shape[0], -1))


def cut_batch(
    states: DeviceStates, rows: Int[Array, "batch"], bucket: Int[Array, ""], widths: tuple[int, ...]
) -> OnBatch:
    """The samples `rows` as a batch with the width of their bucket."""

    def on_batch(compute: Callable[[TokenBatch], Any]) -> Any:
        at_widths = [functools.partial(lambda n: compute(gather(states, rows, n)), n) for n in widths]
        return jax.lax.switch(bucket, at_widths)

    return on_batch


def _devices(mesh: Mesh) -> str:
    kind = mesh.devices.flat[0].device_kind
    return f"{mesh.size} x {kind}" if mesh.size > 1 else kind
