"""Per-dimension mean and standard deviation of the training split, for input normalisation of all probes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from relope_jax.precision import jit
from relope_jax.states.ragged import StateSource, chunks

SMALLEST = 4096  # rows of the smallest compiled block; the others are doublings, so that few shapes are compiled


# A standard deviation this small, relative to the dimension's own mean or to a typical dimension, is rounding of
# float32 sums (about 1e-7 for one sum, more after many layers). bfloat16 states that differ at all differ by 4e-3.
ROUNDING = 1e-5


class Moments(NamedTuple):
    """Mean and standard deviation of every dimension."""

    mean: Float[np.ndarray, "d"]
    std: Float[np.ndarray, "d"]

    def inverse_std(self) -> Float[np.ndarray, "d"]:
        """1 / std; 0 for a dimension that is constant up to rounding. Such a dimension carries no information. Scaled
        to unit deviation, its rounding, or a different value in a new prompt, would dominate all other dimensions."""
        mean, std = self.mean.astype(np.float64), self.std.astype(np.float64)
        typical = np.median(np.sqrt(mean**2 + std**2))
        varies = std > ROUNDING * np.maximum(np.abs(mean), typical)
        return np.divide(1.0, std, out=np.zeros_like(std), where=varies).astype(np.float32)


class TokenStatistics(NamedTuple):
    """Moments of Z^(l-1) over all tokens and of z_n^(l) over all samples."""

    hidden: Moments
    last_hidden: Moments


def token_statistics(states: StateSource, rows: Int[np.ndarray, "samples"]) -> TokenStatistics:
    """Statistics of the samples `rows`, read chunk by chunk."""
    hidden, last_hidden = MomentSums(), MomentSums()
    for chunk in chunks(states, rows):
        hidden.add(chunk.hidden)
        last_hidden.add(chunk.last_hidden)
    return TokenStatistics(hidden.moments(), last_hidden.moments())


class MomentSums:
    """Sums of x - shift and (x - shift)^2, in float64."""

    def __init__(self) -> None:
        self._shift: np.ndarray | None = None  # massive activations are far from 0: subtract before squaring
        self._count = 0
        self._total: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, x: Float[np.ndarray, "rows d"]) -> None:
        if self._shift is None:
            self._shift = x[0].astype(np.float64)
        size = SMALLEST
        while size < len(x):
            size *= 2
        padded = np.pad(x, ((0, size - len(x)), (0, 0)))
        with jax.enable_x64(True):
            total, squares = _sums(padded, self._shift, np.int64(len(x)))
        self._count += len(x)
        self._total = self._total + np.asarray(total)
        self._squares = self._squares + np.asarray(squares)

    def moments(self) -> Moments:
        assert self._shift is not None, "no rows"
        mean = self._total / self._count
        std = np.sqrt(np.maximum(self._squares / self._count - mean * mean, 0.0))
        return Moments(np.asarray(mean + self._shift, np.float32), np.asarray(std, np.float32))


@jit
def _sums(
    x: Float[Array, "rows d"], shift: Float[Array, "d"], count: Int[Array, ""]
) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    within = jnp.arange(x.shape[0]) < count
    centred = jnp.where(within[:, None], x.astype(jnp.float64) - shift[None], 0.0)
    return jnp.sum(centred, axis=0), jnp.sum(centred * centred, axis=0)
