"""Scores of an ensemble: P(Y = 1) of every member for every sample, in compiled batches."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from relope_jax.models.batch import DeviceStates, gather
from relope_jax.models.probes import RouterOutput

BATCH = 128


@functools.partial(jax.jit, static_argnames=("graphdef", "n"))
def _logits(
    graphdef: nnx.GraphDef, params: nnx.State, rest: nnx.State, states: DeviceStates, rows: Array, n: int
) -> Float[Array, "members batches batch"]:
    def one_batch(batch_rows: Array) -> Array:
        batch = gather(states, batch_rows, n)
        return jax.vmap(lambda p: nnx.merge(graphdef, p, rest)(batch).logit)(params)

    return jnp.moveaxis(jax.lax.map(one_batch, rows), 0, 1)


def ensemble_scores(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    rest: nnx.State,
    states: DeviceStates,
    rows: Int[np.ndarray, "samples"],
    n: int,
) -> Float[np.ndarray, "members samples"]:
    """P(Y = 1) of the samples `rows`; `params` carry a leading member axis."""
    batch = min(BATCH, len(rows))
    padded = np.resize(rows, -(-len(rows) // batch) * batch).astype(np.int32)
    with jax.default_matmul_precision("highest"):
        logits = _logits(graphdef, params, rest, states, jnp.asarray(padded.reshape(-1, batch)), n)
    members = logits.shape[0]
    flat = np.asarray(logits, np.float64).reshape(members, -1)[:, : len(rows)]
    return 1.0 / (1.0 + np.exp(-flat))


@functools.partial(jax.jit, static_argnames=("graphdef", "n"))
def single_output(
    graphdef: nnx.GraphDef, params: nnx.State, rest: nnx.State, states: DeviceStates, rows: Array, n: int
) -> RouterOutput:
    """The full output (attention, posterior) of one member on one batch of samples."""
    return nnx.merge(graphdef, params, rest)(gather(states, rows, n))
