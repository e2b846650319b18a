"""AUC as the Mann-Whitney statistic, exact with ties, and DeLong's covariance, also for grouped samples.

All counts use int64 and float64: float32 rank sums are wrong from about 10^4 samples on.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real, Shaped

from relope_jax.metrics.intervals import Units, auc_interval, count_units
from relope_jax.metrics.ranking import Opponents, count, count_ranked
from relope_jax.precision import jit


class AUC(NamedTuple):
    """AUC of M score vectors on the same N samples and their DeLong covariance; NaN for a single class."""

    auc: Float[np.ndarray, "m"]
    covariance: Float[np.ndarray, "m m"]
    units: Units

    def interval(self) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
        """95% interval of every AUC (`auc_interval`)."""
        return auc_interval(self.auc, np.diag(self.covariance), self.units)


class AUCInterval(NamedTuple):
    """AUC of M score vectors and their 95% intervals (`auc_interval`); NaN for a single class."""

    auc: Float[np.ndarray, "m"]
    low: Float[np.ndarray, "m"]
    high: Float[np.ndarray, "m"]


def auc(scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    """AUC of M score vectors on the same N samples; NaN for a single class.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        return np.asarray(_auc(*on_device(scores, labels)))


def auc_with_interval(scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> AUCInterval:
    """AUC and interval as from `delong`, but computed from variances only, in a fraction of the time.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    with jax.enable_x64(True):
        value, variance = map(np.asarray, _auc_and_variance(*on_device(scores, labels)))
    return AUCInterval(value, *auc_interval(value, variance, count_units(labels)))


def delong(
    scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"] | None = None
) -> AUC:
    """AUC and its covariance: DeLong et al. 1988 by midranks, in O(n log n).

    Args:
      groups: the group of every sample (several questions about one image). The covariance is then Obuchowski's (1997)
        for clustered data. If every group has one sample, it equals DeLong's.

    The covariance is NaN if only one unit has a positive, or only one has a negative.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    units = count_units(labels, groups)
    index = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    with jax.enable_x64(True):
        value, components = _delong(*on_device(scores, labels))
        positive = jnp.asarray(labels) == 1
        factors = np.array([_small_sample(size) for size in (units.positive, units.negative, units.all)])
        covariance = _covariance(components, positive, value, jnp.asarray(index), factors, n_groups=units.all)
        return AUC(np.asarray(value), np.asarray(covariance), units)


def _small_sample(units: int) -> float:
    """The factor that makes a sum of squares over `units` unbiased; NaN for one unit."""
    return units / (units - 1) if units > 1 else np.nan


def require_finite(scores: Real[np.ndarray, "m n"]) -> None:
    """Raise ValueError if a score is NaN or infinite and thus has no rank."""
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")


def on_device(
    scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]
) -> tuple[Float[Array, "m n"], Int[Array, "n"]]:
    """Scores in float64 and labels in int64, within `jax.enable_x64`.

    The conversion uses numpy, because XLA would flush subnormal float32 scores to 0.
    """
    return jnp.asarray(np.asarray(scores, np.float64)), jnp.asarray(np.asarray(labels, np.int64))


@jit
def _auc(scores: Float[Array, "m n"], labels: Int[Array, "n"]) -> Float[Array, "m"]:
    return _auc_and_variance(scores, labels)[0]


@jit
def _auc_and_variance(
    scores: Float[Array, "m n"], labels: Int[Array, "n"]
) -> tuple[Float[Array, "m"], Float[Array, "m"]]:
    """AUC and DeLong's variance, computed on sorted samples."""
    ranked_labels, opponents = count_ranked(scores, labels)
    positive = ranked_labels == 1
    value, components = _components(opponents, positive)
    squares = (components - value[:, None]) ** 2
    positives, negatives = _class_sizes(labels == 1)
    variance = jnp.sum(jnp.where(positive, squares, 0.0), axis=1) / (positives * (positives - 1))
    return value, variance + jnp.sum(jnp.where(positive, 0.0, squares), axis=1) / (negatives * (negatives - 1))


@jit
def _delong(scores: Float[Array, "m n"], labels: Int[Array, "n"]) -> tuple[Float[Array, "m"], Float[Array, "m n"]]:
    """AUC and DeLong's components of the samples in their original order."""
    _, opponents = count(scores, labels)
    return _components(opponents, jnp.broadcast_to(labels[None] == 1, scores.shape))


def _components(opponents: Opponents, positive: Bool[Array, "m n"]) -> tuple[Float[Array, "m"], Float[Array, "m n"]]:
    """AUC and DeLong's structural components: V10 of the positives, V01 of the negatives."""
    positives, negatives = _class_sizes(positive[0])
    twice = opponents.below + opponents.upto  # ties count half
    value = jnp.sum(jnp.where(positive, twice, 0), axis=1).astype(jnp.float64) / (2.0 * positives * negatives)
    beaten = twice.astype(jnp.float64) / jnp.where(positive, 2.0 * negatives, 2.0 * positives)
    return value, jnp.where(positive, beaten, 1.0 - beaten)


def _class_sizes(positive: Bool[Array, "n"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    positives = jnp.sum(positive).astype(jnp.float64)
    return positives, positive.shape[0] - positives


@functools.partial(jit, static_argnames="n_groups")
def _covariance(
    components: Float[Array, "m n"],
    positive: Bool[Array, "n"],
    value: Float[Array, "m"],
    groups: Int[Array, "n"],
    factors: Float[Array, "3"],
    *,
    n_groups: int,
) -> Float[Array, "m m"]:
    """Covariance from the sums of influence of whole groups (Obuchowski 1997, with S10, S01 and S11).

    Args:
      factors: I / (I - 1) for the groups with a positive, the groups with a negative, and all groups.
    """
    positives, negatives = _class_sizes(positive)
    centred = components - value[:, None]

    def sums(members: Bool[Array, "n"], size: Float[Array, ""]) -> Float[Array, "groups m"]:
        return jax.ops.segment_sum(jnp.where(members[None], centred / size, 0.0).T, groups, num_segments=n_groups)

    of_positives, of_negatives = sums(positive, positives), sums(~positive, negatives)
    cross = of_positives.T @ of_negatives
    return (
        factors[0] * (of_positives.T @ of_positives)
        + factors[1] * (of_negatives.T @ of_negatives)
        + factors[2] * (cross + cross.T)
    )
