"""One training step of an ensemble, as pure functions of pytrees; the feeds compile them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from relope_jax.block.batch import TokenBatch
from relope_jax.models.probes import Parts
from relope_jax.training.feeds.buckets import Batches
from relope_jax.training.losses import beta_at, objective
from relope_jax.training.members import Hyper

Terms = dict[str, Float[Array, "*steps members"]]


class Ensemble(NamedTuple):
    """What training changes; every leaf has a leading member axis."""

    params: nnx.State
    optimizer: optax.OptState
    key: PRNGKeyArray


class EpochPlan(NamedTuple):
    """What the members do in one epoch; `progress` is the share of the longest possible training before every step."""

    parts: Parts
    hyper: Hyper
    running: Bool[np.ndarray, "members"]
    batches: Batches
    progress: Float[np.ndarray, "steps"]


class Epoch(NamedTuple):
    """What an epoch gives; `waited` are seconds in which no batch was ready."""

    ensemble: Ensemble
    terms: dict[str, Float[np.ndarray, "steps members"]]
    waited: float = 0.0


class Examples(NamedTuple):
    """The labels of a batch; samples of weight 0 fill it up and count for nothing."""

    labels: Float[Array, "batch"]
    weights: Float[Array, "batch"]


def start(parts: Parts, keys: PRNGKeyArray) -> Ensemble:
    """An ensemble before its first step."""
    return Ensemble(parts.params, jax.vmap(optax.scale_by_adam().init)(parts.params), keys)


def gradients(
    ensemble: Ensemble,
    parts: Parts,
    hyper: Hyper,
    batch: TokenBatch,
    examples: Examples,
    progress: Float[Array, ""],
) -> tuple[nnx.State, Terms]:
    """Gradients and loss terms of every member on the same batch.

    Args:
      parts: the structure, settings and frozen rest; its `params` are not looked at.
      progress: share of the longest possible training that has passed, for beta(t).
    """

    def of_member(params: nnx.State, settings: nnx.State, key: PRNGKeyArray, hyper: Hyper) -> tuple[nnx.State, Terms]:
        def loss(params: nnx.State) -> tuple[Array, Terms]:
            output = nnx.merge(parts.graphdef, params, settings, parts.rest)(batch, noise_of(key))
            return objective(output, examples.labels, examples.weights, beta_at(hyper, progress), hyper.kl_sum)

        (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return gradient, terms | {"loss": value, "gradient_norm": optax.tree.norm(gradient)}

    return jax.vmap(of_member)(ensemble.params, parts.settings, ensemble.key, hyper)


def update(
    ensemble: Ensemble, gradient: nnx.State, norm: Array, hyper: Hyper, running: Bool[Array, "members"]
) -> Ensemble:
    """AdamW after clipping to a global norm; the parameters of stopped members stay as they are."""

    def of_member(member: Ensemble, gradient: nnx.State, norm: Array, hyper: Hyper, running: Array) -> Ensemble:
        clip = jnp.minimum(1.0, hyper.clip_norm / jnp.maximum(norm, 1e-30))
        gradient = jax.tree.map(lambda g: clip * g, gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer step count
            direction, optimizer = optax.scale_by_adam().update(gradient, member.optimizer)
        rate = jnp.where(running, hyper.learning_rate, 0.0)

        def moved(p: Array, u: Array) -> Array:
            return jnp.where(running, p - rate * (u + hyper.weight_decay * p), p)

        return Ensemble(jax.tree.map(moved, member.params, direction), optimizer, next_key(member.key))

    return jax.vmap(of_member)(ensemble, gradient, norm, hyper, running)


def next_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key of the next step."""
    return jax.random.split(key)[0]


def noise_of(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key of this step's dropout and bottleneck noise."""
    return jax.random.split(key)[1]
