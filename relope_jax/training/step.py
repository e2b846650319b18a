"""The training step and the scoring step of an ensemble, as pure functions of pytrees.

Both are the same for resident and streamed states. Only the source of a batch differs, so the steps take `on_batch`:
`on_batch(f)` applies f to the batch, which a feed has read or gathers from its states at the right width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from relope_jax.block.batch import TokenBatch
from relope_jax.block.spec import AnyArray
from relope_jax.machine.mesh import keep_replicated
from relope_jax.models.probes import Parts
from relope_jax.training.feeds.buckets import Batches
from relope_jax.training.losses import beta_at, objective
from relope_jax.training.members import Hyper

Metrics = dict[str, Float[Array, "members"]]  # of one step
OnBatch = Callable[[Callable[[TokenBatch], Any]], Any]
MEMBERS: Any = Parts(*cast(Any, (None, 0, 0, None)))  # `jax.vmap` axes of an ensemble's params and settings


class TrainState(NamedTuple):
    """The state that training changes; every leaf has a leading member axis."""

    params: nnx.State
    opt_state: optax.OptState
    key: Key[Array, "members"]


class Examples(NamedTuple):
    """The labels of one batch, or of the batch of every step; samples with weight 0 are padding and do not count."""

    labels: Float[AnyArray, "*steps batch"]
    weights: Float[AnyArray, "*steps batch"]


class EpochPlan(NamedTuple):
    """The plan of one epoch; `progress` is the share of the longest possible training before every step."""

    parts: Parts
    hyper: Hyper
    running: Bool[np.ndarray, "members"]
    batches: Batches
    examples: Examples
    progress: Float[np.ndarray, "steps"]


class Epoch(NamedTuple):
    """The result of an epoch; `waited` is the time in seconds without a ready batch."""

    state: TrainState
    metrics: dict[str, Float[np.ndarray, "steps members"]]
    waited: float = 0.0


def start(parts: Parts, keys: Key[Array, "members"]) -> TrainState:
    """The state before the first step."""
    return TrainState(parts.params, jax.vmap(optax.scale_by_adam().init)(parts.params), keys)


def train_step(
    state: TrainState,
    parts: Parts,
    hyper: Hyper,
    running: Bool[Array, "members"],
    on_batch: OnBatch,
    examples: Examples,
    progress: Float[Array, ""],
    mesh: Mesh,
) -> tuple[TrainState, Metrics]:
    """One step of all members on the same batch.

    Args:
      parts: the structure, settings and frozen rest; the parameters are those of `state`.
      progress: share of the longest possible training that has passed, for beta(t).
    """
    parts = parts._replace(params=state.params)
    gradient, metrics = on_batch(lambda batch: gradients(parts, state.key, hyper, batch, examples, progress))
    state = update(state, gradient, metrics["gradient_norm"], hyper, running)
    return keep_replicated(mesh, (state, metrics))


def score_step(parts: Parts, on_batch: OnBatch) -> Float[Array, "members batch"]:
    """Log-odds of Y = 1 of every member for one batch."""

    def logits(batch: TokenBatch) -> Float[Array, "members batch"]:
        return jax.vmap(lambda member: member.module()(batch).logit, in_axes=(MEMBERS,))(parts)

    return on_batch(logits)


def gradients(
    parts: Parts,
    keys: Key[Array, "members"],
    hyper: Hyper,
    batch: TokenBatch,
    examples: Examples,
    progress: Float[Array, ""],
) -> tuple[nnx.State, Metrics]:
    """Gradients and loss terms of every member on the same batch."""

    def of_member(member: Parts, key: PRNGKeyArray, hyper: Hyper) -> tuple[nnx.State, dict[str, Float[Array, ""]]]:
        def loss(params: nnx.State) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            output = member._replace(params=params).module()(batch, noise_of(key))
            labels, weights = jnp.asarray(examples.labels), jnp.asarray(examples.weights)
            return objective(output, labels, weights, beta_at(hyper, progress), hyper.kl_sum)

        (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(member.params)
        return gradient, terms | {"loss": value, "gradient_norm": optax.tree.norm(gradient)}

    return jax.vmap(of_member, in_axes=(MEMBERS, 0, 0))(parts, keys, hyper)


def update(
    state: TrainState,
    gradient: nnx.State,
    norm: Float[Array, "members"],
    hyper: Hyper,
    running: Bool[Array, "members"],
) -> TrainState:
    """AdamW after clipping to a global norm; the parameters of stopped members do not change."""

    def of_member(
        state: TrainState, gradient: nnx.State, norm: Float[Array, ""], hyper: Hyper, running: Bool[Array, ""]
    ) -> TrainState:
        clip = jnp.minimum(1.0, hyper.clip_norm / jnp.maximum(norm, 1e-30))
        gradient = jax.tree.map(lambda g: clip * g, gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax computes float ** integer step count
            direction, opt_state = optax.scale_by_adam().update(gradient, state.opt_state)
        rate = jnp.where(running, hyper.learning_rate, 0.0)

        def moved(p: Float[Array, "*leaf"], u: Float[Array, "*leaf"]) -> Float[Array, "*leaf"]:
            return jnp.where(running, p - rate * (u + hyper.weight_decay * p), p)

        return TrainState(jax.tree.map(moved, state.params, direction), opt_state, next_key(state.key))

    return jax.vmap(of_member)(state, gradient, norm, hyper, running)


def next_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key for the next step."""
    return jax.random.split(key)[0]


def noise_of(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key for this step's dropout and bottleneck noise."""
    return jax.random.split(key)[1]
