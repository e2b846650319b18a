"""AUC as the Mann-Whitney statistic, exact under ties, with DeLong's covariance, also for grouped samples.

Everything counts in int64 and float64: float32 rank sums are wrong from about 10^4 samples on.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from relope_jax.metrics.ranking import Opponents, count, count_ranked
from relope_jax.precision import jit

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal


class AUC(NamedTuple):
    """AUC of M score vectors on the same N samples, and its DeLong covariance; NaN for a single class."""

    auc: Float[np.ndarray, "m"]
    covariance: Float[np.ndarray, "m m"]

    def interval(self) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
        """95 % interval of every AUC, clipped to [0, 1]."""
        return _interval(self.auc, np.diag(self.covariance))


class AUCInterval(NamedTuple):
    """AUC of M score vectors and its 95 % DeLong interval, clipped to [0, 1]; NaN for a single class."""

    auc: Float[np.ndarray, "m"]
    low: Float[np.ndarray, "m"]
    high: Float[np.ndarray, "m"]


def auc(scores: Float[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    """AUC of M score vectors on the same N samples; NaN for a single class.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        return np.asarray(_auc(*on_device(scores, labels)))


def auc_with_interval(scores: Float[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> AUCInterval:
    """AUC and its interval as `delong` gives them, from variances alone: a fraction of its time.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        value, variance = map(np.asarray, _auc_and_variance(*on_device(scores, labels)))
    return AUCInterval(value, *_interval(value, variance))


def delong(scores: Float[np.ndarray, "m n"], labels: Int[np.ndarray, "n"], groups: np.ndarray | None = None) -> AUC:
    """AUC and its covariance: DeLong et al. 1988 by midranks, in O(n log n).

    Args:
      groups: which samples belong together (several questions about one image). The covariance then sums
        each group's influence (Obuchowski 1997); without groups it is DeLong's.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        value, components = _delong(*on_device(scores, labels))
        positive = jnp.asarray(labels) == 1
        if groups is None or len(np.unique(groups)) < 2:
            covariance = _covariance(components, positive, value) + _covariance(components, ~positive, value)
        else:
            names, index = np.unique(groups, return_inverse=True)
            covariance = _grouped_covariance(components, positive, value, jnp.asarray(index), len(names))
        return AUC(np.asarray(value), np.asarray(covariance))


def require_finite(scores: Float[np.ndarray, "m n"]) -> None:
    """Raise ValueError where a score is NaN or infinite: it has no rank."""
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")


def on_device(scores: np.ndarray, labels: np.ndarray) -> tuple[Float[Array, "m n"], Int[Array, "n"]]:
    """Scores in float64 and labels in int64, within `jax.enable_x64`."""
    return jnp.asarray(scores, jnp.float64), jnp.asarray(labels, jnp.int64)


@jit
def _auc(scores: Array, labels: Array) -> Array:
    return _auc_and_variance(scores, labels)[0]


@jit
def _auc_and_variance(scores: Array, labels: Array) -> tuple[Array, Array]:
    """AUC and DeLong's variance; the samples may stay sorted."""
    ranked_labels, opponents = count_ranked(scores, labels)
    positive = ranked_labels == 1
    value, components = _components(opponents, positive)
    squares = (components - value[:, None]) ** 2
    positives, negatives = _class_sizes(labels == 1)
    variance = jnp.sum(jnp.where(positive, squares, 0.0), axis=1) / (positives * (positives - 1))
    return value, variance + jnp.sum(jnp.where(positive, 0.0, squares), axis=1) / (negatives * (negatives - 1))


@jit
def _delong(scores: Array, labels: Array) -> tuple[Array, Array]:
    """AUC and DeLong's components of the samples as they are stored."""
    _, opponents = count(scores, labels)
    return _components(opponents, jnp.broadcast_to(labels[None] == 1, scores.shape))


def _components(opponents: Opponents, positive: Bool[Array, "m n"]) -> tuple[Array, Array]:
    """AUC, and DeLong's structural components: V10 of the positives, V01 of the negatives."""
    positives, negatives = _class_sizes(positive[0])
    twice = opponents.below + opponents.upto  # ties count half
    value = jnp.sum(jnp.where(positive, twice, 0), axis=1).astype(jnp.float64) / (2.0 * positives * negatives)
    beaten = twice.astype(jnp.float64) / jnp.where(positive, 2.0 * negatives, 2.0 * positives)
    return value, jnp.where(positive, beaten, 1.0 - beaten)


def _class_sizes(positive: Bool[Array, "n"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    positives = jnp.sum(positive).astype(jnp.float64)
    return positives, positive.shape[0] - positives


@jit
def _covariance(components: Array, members: Array, value: Array) -> Array:
    """Sample covariance of the components of one class, over its size."""
    size = jnp.sum(members).astype(jnp.float64)
    centred = jnp.where(members[None], components - value[:, None], 0.0)
    return centred @ centred.T / ((size - 1) * size)


@functools.partial(jit, static_argnames="n_groups")
def _grouped_covariance(components: Array, positive: Array, value: Array, groups: Array, n_groups: int) -> Array:
    """Covariance from the sums of influence of whole groups."""
    positives, negatives = _class_sizes(positive)
    influence = (components - value[:, None]) / jnp.where(positive[None], positives, negatives)
    sums = jax.ops.segment_sum(influence.T, groups, num_segments=n_groups)
    return sums.T @ sums * (n_groups / (n_groups - 1))


def _interval(value: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = Z_95 * np.sqrt(np.maximum(variance, 0.0))
    return np.clip(value - half, 0, 1), np.clip(value + half, 0, 1)
