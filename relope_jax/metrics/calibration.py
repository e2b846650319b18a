"""Calibration: does a score of 0.8 mean right in 80 % of cases?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
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
