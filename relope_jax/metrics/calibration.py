"""Calibration: does a score of 0.8 mean right in 80 % of cases?"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def expected_calibration_error(
    scores: Float[Array, "m n"], labels: Int[Array, "n"], bins: int = 15
) -> Float[Array, "m"]:
    """ECE over equal-width bins: mean over samples of |accuracy - confidence| of their bin."""

    right = labels.astype(scores.dtype)

    def one(score: Float[Array, "n"]) -> Float[Array, ""]:
        bin_of = jnp.clip((score * bins).astype(jnp.int32), 0, bins - 1)
        gap = jax.ops.segment_sum(right - score, bin_of, num_segments=bins)
        return jnp.sum(jnp.abs(gap)) / score.shape[0]

    return jax.vmap(one)(scores)


def brier_score(scores: Float[Array, "m n"], labels: Int[Array, "n"]) -> Float[Array, "m"]:
    """Mean squared difference of score and label: 0 is perfect, 0.25 is what a constant 0.5 has."""
    return jnp.mean((scores - labels.astype(scores.dtype)[None]) ** 2, axis=1)


class Reliability(NamedTuple):
    """Bins of equal width over [0, 1]: their edges, and of each its samples' mean score and accuracy (NaN when it is
    empty) and their number."""

    edges: Float[np.ndarray, "bins+1"]
    score: Float[np.ndarray, "bins"]
    accuracy: Float[np.ndarray, "bins"]
    samples: Int[np.ndarray, "bins"]


def reliability(scores: Float[np.ndarray, "n"], labels: Int[np.ndarray, "n"], bins: int = 15) -> Reliability:
    """The reliability diagram of one router, on the bins of `expected_calibration_error`."""
    bin_of = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    size = np.where(count > 0, count, np.nan)
    score = np.bincount(bin_of, weights=scores, minlength=bins) / size
    accuracy = np.bincount(bin_of, weights=labels, minlength=bins) / size
    return Reliability(np.arange(bins + 1) / bins, score, accuracy, count)
