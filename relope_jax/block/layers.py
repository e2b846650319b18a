"""The block's layers that have no product with a weight: RMSNorm and rotary position embedding.

Positions have one axis or several; a family may rotate all dimensions of a head, or the leading ones.
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
    """RoPE of tokens: cosines and sines of the angles by which the pairs of a head are rotated."""

    cos: Float[Array, "*batch half"]
    sin: Float[Array, "*batch half"]


def rotary_embedding(
    frequencies: Float[AnyArray, "axes half"], positions: Int[Array, "*batch axes"], scaling: float
) -> RotaryEmbedding:
    """The rotation of every token: pair j is rotated by `sum_axis position[axis] * frequencies[axis, j]`.

    The sum is no matrix product: an accelerator may run one in fewer bits, which angles of thousands of radians do
    not survive.
    """
    theta = jnp.zeros((*positions.shape[:-1], frequencies.shape[1]), jnp.float32)
    for axis, frequency in enumerate(frequencies):
        theta += positions[..., axis, None].astype(jnp.float32) * jnp.broadcast_to(frequency, theta.shape)
    return RotaryEmbedding(scaling * jnp.cos(theta), scaling * jnp.sin(theta))


def rotate(x: Float[Array, "*batch heads head_dim"], rope: RotaryEmbedding) -> Float[Array, "*batch heads head_dim"]:
    """Rotate the pairs (x_j, x_{j + half}) of every head; dimensions from 2 * half on pass."""
    half = rope.cos.shape[-1]
    rotary, rest = x[..., : 2 * half], x[..., 2 * half :]
    # The halves as an axis: on a CPU, XLA spends more time on joining halves than on all the arithmetic.
    pairs = rotary.reshape(*rotary.shape[:-1], 2, half)
    sign = jnp.array([[-1.0], [1.0]], x.dtype).reshape((1,) * (x.ndim - 1) + (2, 1))
    cos, sin = rope.cos[..., None, None, :], rope.sin[..., None, None, :]
    rotary = (pairs * cos + pairs[..., ::-1, :] * (sign * sin)).reshape(rotary.shape)
    return jnp.concatenate([rotary, rest], axis=-1) if rest.shape[-1] else rotary
