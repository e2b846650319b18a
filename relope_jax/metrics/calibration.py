"""Calibration: is an answer with score 0.8 right in 80% of cases?"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from relope_jax.metrics.auc import on_device
from relope_jax.precision import jit


def expected_calibration_error(
    scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"], bins: int = 15
) -> Float[np.ndarray, "m"]:
    """ECE with equal-width bins: the mean over samples of |accuracy - confidence| of their bin."""
    with jax.enable_x64(True):
        return np.asarray(_calibration_error(*on_device(scores, labels), bins=bins))


@functools.partial(jit, static_argnames="bins")
def _calibration_error(scores: Float[Array, "m n"], labels: Int[Array, "n"], *, bins: int) -> Float[Array, "m"]:
    right = labels.astype(scores.dtype)

    def one(score: Float[Array, "n"]) -> Float[Array, ""]:
        bin_of = jnp.clip((score * bins).astype(jnp.int32), 0, bins - 1)
        gap = jax.ops.segment_sum(right - score, bin_of, num_segments=bins)
        return jnp.sum(jnp.abs(gap)) / score.shape[0]

    return jax.vmap(one)(scores)


def brier_score(scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    """Mean squared difference of score and label: 0 is perfect, a constant 0.5 has 0.25."""
    with jax.enable_x64(True):
        return np.asarray(_brier_score(*on_device(scores, labels)))


@jit
def _brier_score(scores: Float[Array, "m n"], labels: Int[Array, "n"]) -> Float[Array, "m"]:
    return jnp.mean((scores - labels.astype(scores.dtype)[None]) ** 2, axis=1)


def accuracy(scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    """Accuracy of "score above 0.5" as a prediction of the label. It is a count over n, so it is exactly equal for
    routers with equally many correct predictions."""
    return np.count_nonzero((np.asarray(scores) > 0.5) == (np.asarray(labels) == 1), axis=1) / len(labels)


class Reliability(NamedTuple):
    """Bins of equal width over [0, 1]: edges, and per bin the mean score, the accuracy (both NaN if empty) and the
    number of samples."""

    edges: Float[np.ndarray, "bins+1"]
    score: Float[np.ndarray, "bins"]
    accuracy: Float[np.ndarray, "bins"]
    samples: Int[np.ndarray, "bins"]


def reliability(scores: Real[np.ndarray, "n"], labels: Int[np.ndarray, "n"], bins: int = 15) -> Reliability:
    """The reliability diagram of one router, with the bins of `expected_calibration_error`."""
    bin_of = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    size = np.where(count > 0, count, np.nan)
    score = np.bincount(bin_of, weights=scores, minlength=bins) / size
    accuracy = np.bincount(bin_of, weights=labels, minlength=bins) / size
    return Reliability(np.arange(bins + 1) / bins, score, accuracy, count)
