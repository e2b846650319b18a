"""Rotary position embedding with one position axis or several, of all or the leading dimensions of a head."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def angles(frequencies: Float[Array, "axes half"], positions: Int[Array, "*batch axes"]) -> Float[Array, "*batch half"]:
    """Rotation angle of every pair: `sum_axis position[axis] * frequencies[axis, pair]`.

    Not a matrix product: an accelerator may run one in fewer bits, which angles of thousands of radians do
    not survive.
    """
    theta = jnp.zeros((*positions.shape[:-1], frequencies.shape[1]), jnp.float32)
    for axis, frequency in enumerate(frequencies):
        theta += positions[..., axis, None].astype(jnp.float32) * jnp.broadcast_to(frequency, theta.shape)
    return theta


def rotate(
    x: Float[Array, "*batch heads head_dim"], theta: Float[Array, "*batch half"], scaling: float
) -> Float[Array, "*batch heads head_dim"]:
    """Rotate the pairs (x_j, x_{j + half}) of every head by theta_j; dimensions from 2 * half on pass."""
    half = theta.shape[-1]
    cos = scaling * jnp.cos(theta)[..., None, :]
    sin = scaling * jnp.sin(theta)[..., None, :]
    first, second, rest = jnp.split(x, (half, 2 * half), axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
