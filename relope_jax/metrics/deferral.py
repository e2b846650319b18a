"""What sending the lowest scores to the large model buys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from relope_jax.metrics.auc import require_finite
from relope_jax.precision import jit


def cumulative_lowest(scores: Float[Array, "n"], values: Float[Array, "n"]) -> Float[Array, "n"]:
    """Sum of `values` over the k lowest scores, for k = 1..n.

    Inside a group of tied scores this is the expectation over a random order, so the order in which
    samples happen to be stored never matters.
    """
    n = scores.shape[0]
    order = jnp.argsort(scores)
    ranked = scores[order]
    starts = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] != ranked[:-1]])
    group = jnp.cumsum(starts)
    size = jax.ops.segment_sum(jnp.ones_like(values), group, num_segments=n)
    total = jax.ops.segment_sum(values[order], group, num_segments=n)
    return jnp.cumsum((total / jnp.maximum(size, 1))[group])


def caught_wrong(scores: Float[Array, "m n"], labels: Int[Array, "n"], share: float) -> Float[Array, "m"]:
    """Share of the wrong answers that deferring the `share` lowest scores catches (random: `share`)."""
    k = max(1, round(share * labels.shape[0]))
    wrong = 1.0 - labels.astype(scores.dtype)
    caught = jax.vmap(lambda score: cumulative_lowest(score, wrong)[k - 1])(scores)
    return caught / jnp.sum(wrong)


def sums_of_lowest(scores: Float[np.ndarray, "m n"], values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "m n+1"]:
    """Sum of `values` over the k lowest scores of every router, k = 0..n, in float64; ties as in `cumulative_lowest`.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        sums = np.asarray(_sums_of_lowest(jnp.asarray(scores, jnp.float64), jnp.asarray(values, jnp.float64)))
    return np.pad(sums, ((0, 0), (1, 0)))


_sums_of_lowest = jit(jax.vmap(cumulative_lowest, in_axes=(0, None)))


def risk_coverage(scores: Float[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m n"]:
    """Error rate among the samples kept when the k lowest scores are deferred, k = 0..n-1."""
    n, wrong = len(labels), 1.0 - labels
    return (wrong.sum() - sums_of_lowest(scores, wrong)[:, :n]) / (n - np.arange(n))
