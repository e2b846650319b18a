"""Bootstrap of the AUC. A resample only changes the weights of the samples, so all resamples share one sort."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real, Shaped

from relope_jax.metrics.auc import on_device, require_finite
from relope_jax.metrics.ranking import count
from relope_jax.precision import jit

TAILS = (0.025, 0.975)  # quantiles of a 95% percentile interval
CHUNK = 2**18  # sample weights in memory per chunk
FEWEST = 16  # minimum resamples per chunk; fewer are slower


class Bootstrap(NamedTuple):
    """AUC of M score vectors in the same R resamples; resamples with a single class are left out and counted."""

    auc: Float[np.ndarray, "m r"]
    left_out: int


def bootstrap(
    scores: Real[np.ndarray, "m n"],
    labels: Int[np.ndarray, "n"],
    groups: Shaped[np.ndarray, "n"] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """AUC in resamples of the N samples, drawn with replacement; a seed gives the same resamples on every device.

    Args:
      groups: the group of every sample (several questions about one image); whole groups are drawn.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    units, unit = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    positives = np.flatnonzero(labels)
    with jax.enable_x64(True):
        order, below, upto = map(np.asarray, _ranked(*on_device(scores, labels)))
        ranked_negatives = order[labels[order] == 0].reshape(len(order), -1)
        auc = np.asarray(
            _resampled_auc(
                seed,
                unit[positives],
                unit[ranked_negatives],
                below[:, positives],
                upto[:, positives],
                n_units=len(units),
                n_resamples=n_resamples,
            )
        )
    both_classes = ~np.isnan(auc[0])
    return Bootstrap(auc[:, both_classes], int(np.sum(~both_classes)))


def draw(seed: int | Int[Array, ""], resamples: Int[Array, "r"], n_units: int) -> Int[Array, "units r"]:
    """How often each of `n_units` samples or groups is drawn in the resamples with these numbers."""
    key = jax.random.key(seed)

    def one(resample: Int[Array, ""]) -> Int[Array, "units"]:
        return jax.random.randint(jax.random.fold_in(key, resample), (n_units,), 0, n_units, jnp.int32)

    columns = jnp.broadcast_to(jnp.arange(len(resamples))[:, None], (len(resamples), n_units))
    return jnp.zeros((n_units, len(resamples)), jnp.int32).at[jax.vmap(one)(resamples), columns].add(1)


@jit
def _ranked(
    scores: Float[Array, "m n"], labels: Int[Array, "n"]
) -> tuple[Int[Array, "m n"], Int[Array, "m n"], Int[Array, "m n"]]:
    order, opponents = count(scores, labels)
    return order, opponents.below, opponents.upto


@functools.partial(jit, static_argnames=("n_units", "n_resamples"))
def _resampled_auc(
    seed: int | Int[Array, ""],
    positives: Int[Array, "p"],
    ranked_negatives: Int[Array, "m q"],
    below: Int[Array, "m p"],
    upto: Int[Array, "m p"],
    *,
    n_units: int,
    n_resamples: int,
) -> Float[Array, "m r"]:
    """AUC of every member in every resample, NaN for a single class.

    Args:
      positives, ranked_negatives: the unit of every sample; negatives in each member's ascending order.
      below, upto: for each positive, the number of ranked negatives below it, and below or tied.
    """
    samples = len(positives) + ranked_negatives.shape[1]
    chunk = min(n_resamples, max(FEWEST, CHUNK // samples))

    def some(resamples: Int[Array, "chunk"]) -> Float[Array, "m chunk"]:
        weights = draw(seed, resamples, n_units)
        right = weights[positives].astype(jnp.float64)

        def one(member: tuple[Int[Array, "q"], Int[Array, "p"], Int[Array, "p"]]) -> Float[Array, "chunk"]:
            negatives, below, upto = member
            wrong = jnp.cumsum(weights[negatives], axis=0, dtype=jnp.int32)
            wrong = jnp.concatenate([jnp.zeros((1, chunk), jnp.int32), wrong])
            won = jnp.sum(right * (wrong[below] + wrong[upto]).astype(jnp.float64), axis=0)
            return won / (2.0 * jnp.sum(right, axis=0) * wrong[-1].astype(jnp.float64))

        return jax.lax.map(one, (ranked_negatives, below, upto))

    chunks = -(-n_resamples // chunk)
    aucs = jax.lax.map(some, jnp.arange(chunks * chunk).reshape(chunks, chunk))
    return aucs.transpose(1, 0, 2).reshape(len(below), -1)[:, :n_resamples]
