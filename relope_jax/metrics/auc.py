"""AUC as the Mann-Whitney statistic, exact under ties, with DeLong's covariance, also for grouped samples.

Everything counts in int64 and float64: float32 rank sums are wrong from about 10^4 samples on.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal


class AUC(NamedTuple):
    """AUC of M score vectors on the same N samples, and its DeLong covariance; NaN for a single class."""

    auc: Float[np.ndarray, "m"]
    covariance: Float[np.ndarray, "m m"]

    def interval(self) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
        """95 % interval of every AUC, clipped to [0, 1]."""
        half = Z_95 * np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return np.clip(self.auc - half, 0, 1), np.clip(self.auc + half, 0, 1)


def delong(scores: Float[np.ndarray, "m n"], labels: Int[np.ndarray, "n"], groups: np.ndarray | None = None) -> AUC:
    """AUC and its covariance: DeLong et al. 1988 by midranks, in O(n log n).

    Args:
      groups: which samples belong together (several questions about one image). The covariance then sums
        each group's influence (Obuchowski 1997); without groups it is DeLong's.

    Raises:
      ValueError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    with jax.enable_x64(True):
        auc, v10, v01 = _components(jnp.asarray(scores), jnp.asarray(labels, jnp.int64))
        positive = jnp.asarray(labels) == 1
        if groups is None or len(np.unique(groups)) < 2:
            covariance = _covariance(v10, positive, auc) + _covariance(v01, ~positive, auc)
        else:
            names, index = np.unique(groups, return_inverse=True)
            covariance = _grouped_covariance(v10, v01, positive, auc, jnp.asarray(index), len(names))
        return AUC(np.asarray(auc), np.asarray(covariance))


@jax.jit
def _components(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """AUC, and DeLong's structural components: v10 for positives, v01 for negatives."""
    positives = jnp.sum(labels).astype(jnp.float64)
    negatives = labels.shape[0] - positives
    # Per sample: twice the number of the other class that it beats, ties counting half.
    counts = jax.vmap(_twice_below, in_axes=(0, None))(scores, labels)
    total = jnp.sum(jnp.where(labels[None] == 1, counts, 0), axis=1)
    auc = total.astype(jnp.float64) / (2.0 * positives * negatives)
    twice_below = counts.astype(jnp.float64)
    return auc, twice_below / (2.0 * negatives), 1.0 - twice_below / (2.0 * positives)


@jax.jit
def _covariance(components: Array, members: Array, auc: Array) -> Array:
    """Sample covariance of the components of one class, over its size."""
    count = jnp.sum(members).astype(jnp.float64)
    centred = jnp.where(members[None], components - auc[:, None], 0.0)
    return centred @ centred.T / ((count - 1) * count)


@functools.partial(jax.jit, static_argnames="n_groups")
def _grouped_covariance(v10: Array, v01: Array, positive: Array, auc: Array, groups: Array, n_groups: int) -> Array:
    """Covariance from the sums of influence of whole groups."""
    count = jnp.sum(positive).astype(jnp.float64)
    influence = jnp.where(
        positive[None],
        (v10 - auc[:, None]) / count,
        (v01 - auc[:, None]) / (positive.shape[0] - count),
    )
    sums = jax.ops.segment_sum(influence.T, groups, num_segments=n_groups)
    return sums.T @ sums * (n_groups / (n_groups - 1))


def _twice_below(scores: Float[Array, "n"], labels: Int[Array, "n"]) -> Int[Array, "n"]:
    """2 * #(other class below) + #(other class tied), for every sample; integers, so exact."""
    n = scores.shape[0]
    order = jnp.argsort(scores)
    ranked, ranked_labels = scores[order], labels[order]
    index = jnp.arange(n)
    starts_group = jnp.concatenate([jnp.ones(1, bool), ranked[1:] != ranked[:-1]])
    first = jax.lax.cummax(jnp.where(starts_group, index, 0))
    ends_group = jnp.concatenate([starts_group[1:], jnp.ones(1, bool)])
    last = jax.lax.cummin(jnp.where(ends_group, index, n - 1), reverse=True)
    positives_before = jnp.concatenate([jnp.zeros(1, labels.dtype), jnp.cumsum(ranked_labels)])
    positive_twice = positives_before[first] + positives_before[last + 1]
    all_twice = first + last + 1
    twice = jnp.where(ranked_labels == 1, all_twice - positive_twice, positive_twice)
    return jnp.zeros(n, twice.dtype).at[order].set(twice)
