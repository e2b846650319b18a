"""The block's layers without weight matrices: RMSNorm and rotary position embedding.

Positions have one or more axes. A family may rotate all dimensions of a head or only the leading ones.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from relope_jax.block.spec import AnyArray


def inverse_rms(x: Float[Array, "*batch d"], eps: float) -> Float[Array, "*batch"]:
    """1 / sqrt(mean(x^2) + eps)."""
    return jax.lax.rsqrt(jnp.mean(x * x, axis=-1) + eps)


def rms_norm(x: Float[Array, "*batch d"], gain: Float[AnyArray, "d"], eps: float) -> Float[Array, "*batch d"]:
    """gain * x / sqrt(mean(x^2) + eps)."""
    return x * inverse_rms(x, eps)[..., None] * jnp.broadcast_to(gain, x.shape)


class RotaryEmbedding(NamedTuple):
    """RoPE of tokens: cosines and sines of the rotation angles of a head's pairs."""

    cos: Float[Array, "*batch half"]
    sin: Float[Array, "*batch half"]


def rotary_embedding(
    frequencies: Float[AnyArray, "axes half"], positions: Int[Array, "*batch axes"], scaling: float
) -> RotaryEmbedding:
    """The rotation of every token: pair j is rotated by `sum_axis position[axis] * frequencies[axis, j]`.

    The sum is not a matrix product, which an accelerator may run at lower precision: too low for angles of thousands
    of radians.
    """
    theta = jnp.zeros((*positions.shape[:-1], frequencies.shape[1]), jnp.float32)
    for axis, frequency in enumerate(frequencies):
        theta += positions[..., axis, None].astype(jnp.float32) * jnp.broadcast_to(frequency, theta.shape)
    return RotaryEmbedding(scaling * jnp.cos(theta), scaling * jnp.sin(theta))


def rotate(x: Float[Array, "*batch heads head_dim"], rope: RotaryEmbedding) -> Float[Array, "*batch heads head_dim"]:
    """Rotate the pairs (x_j, x_{j + half}) of every head; dimensions from 2 * half on are unchanged."""
    half = rope.cos.shape[-1]
    rotary, rest = x[..., : 2 * half], x[..., 2 * half :]
    # Use an axis for the halves: on a CPU, XLA spends more time on concatenating halves than on the arithmetic.
    pairs = rotary.reshape(*rotary.shape[:-1], 2, half)
    sign = jnp.array([[-1.0], [1.0]], x.dtype).reshape((1,) * (x.ndim - 1) + (2, 1))
    cos, sin = rope.cos[..., None, None, :], rope.sin[..., None, None, :]
    rotary = (pairs * cos + pairs[..., ::-1, :] * (sign * sin)).reshape(rotary.shape)
    return jnp.concatenate([rotary, rest], axis=-1) if rest.shape[-1] else rotary
