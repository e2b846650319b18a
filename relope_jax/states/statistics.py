"""Per-dimension mean and standard deviation of the training split, the input normalisation of all probes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from relope_jax.states.ragged import TokenStates

BLOCK_ROWS = 65536


class Moments(NamedTuple):
    """Mean and standard deviation of every dimension."""

    mean: Float[np.ndarray, "d"]
    std: Float[np.ndarray, "d"]


class TokenStatistics(NamedTuple):
    """Moments of Z^(l-1) over all tokens and of z_n^(l) over all samples."""

    hidden: Moments
    last_hidden: Moments


def token_statistics(states: TokenStates) -> TokenStatistics:
    """Statistics of `states`, read in blocks so that a large store needs no float copy of itself."""
    return TokenStatistics(moments(states.hidden), moments(states.last_hidden))


def moments(x: Float[np.ndarray, "rows d"]) -> Moments:
    """Mean and standard deviation of the rows of `x`, accumulated in float64."""
    total, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    shift = x[0].astype(np.float64)  # massive activations sit far from 0: subtract before squaring
    for start in range(0, len(x), BLOCK_ROWS):
        rows = x[start : start + BLOCK_ROWS].astype(np.float64) - shift
        total += rows.sum(axis=0)
        squares += (rows * rows).sum(axis=0)
    mean = total / len(x)
    std = np.sqrt(np.maximum(squares / len(x) - mean * mean, 0.0))
    return Moments((mean + shift).astype(np.float32), std.astype(np.float32))
