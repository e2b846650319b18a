"""Effects of deferring the lowest scores to the large model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from relope_jax.metrics.auc import require_finite
from relope_jax.metrics.ranking import sort_keys
from relope_jax.precision import jit


def sums_of_lowest(scores: Real[np.ndarray, "m n"], values: Real[np.ndarray, "n"]) -> Float[np.ndarray, "m n+1"]:
    """Sum of `values` over the k lowest scores of every router, k = 0..n, in float64.

    For tied scores this is the expectation over a random order, so the stored order of samples does not matter. Order
    and ties are exactly those of the AUC.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        scores_, values_ = (jnp.asarray(np.asarray(array, np.float64)) for array in (scores, values))
        sums = np.asarray(_sums_of_lowest(scores_, values_))
    return np.pad(sums, ((0, 0), (1, 0)))


def _sum_of_lowest(scores: Float[Array, "n"], values: Float[Array, "n"]) -> Float[Array, "n"]:
    """The sums of one router, for k = 1..n."""
    n = scores.shape[0]
    keys = sort_keys(scores)
    order = jnp.argsort(keys)
    ranked = keys[order]
    starts = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] != ranked[:-1]])
    group = jnp.cumsum(starts)
    size = jax.ops.segment_sum(jnp.ones_like(values), group, num_segments=n)
    total = jax.ops.segment_sum(values[order], group, num_segments=n)
    return jnp.cumsum((total / jnp.maximum(size, 1))[group])


_sums_of_lowest = jit(jax.vmap(_sum_of_lowest, in_axes=(0, None)))


def caught_at(wrong: Float[np.ndarray, "m points"], share: float) -> Float[np.ndarray, "m"]:
    """Share of the wrong answers that are caught by deferring a `share` of lowest scores (random: `share`); NaN if none
    is wrong.

    Args:
      wrong: number of wrong answers among the k lowest scores, k = 0..n (`sums_of_lowest`).
    """
    k = max(1, round(share * (wrong.shape[1] - 1)))
    return wrong[:, k] / np.where(wrong[:, -1] > 0, wrong[:, -1], np.nan)


def risk_coverage(scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m n"]:
    """Error rate of the kept samples if the k lowest scores are deferred, k = 0..n-1."""
    n, wrong = len(labels), 1.0 - labels
    return (wrong.sum() - sums_of_lowest(scores, wrong)[:, :n]) / (n - np.arange(n))
