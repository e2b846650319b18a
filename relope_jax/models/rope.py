"""Rotary position embedding with one position axis or several, of all or the leading dimensions of a head."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Turn(NamedTuple):
    """How far a token's heads are rotated: rows that `rotate` multiplies with, the sine's first half negated."""

    cos: Float[Array, "*batch rope_dim"]
    sin: Float[Array, "*batch rope_dim"]


def turns(frequencies: Float[Array, "axes half"], positions: Int[Array, "*batch axes"], scaling: float) -> Turn:
    """The rotation of every token: pair j turns by `sum_axis position[axis] * frequencies[axis, j]`.

    The sum is no matrix product: an accelerator may run one in fewer bits, which angles of thousands of radians do
    not survive.
    """
    theta = jnp.zeros((*positions.shape[:-1], frequencies.shape[1]), jnp.float32)
    for axis, frequency in enumerate(frequencies):
        theta += positions[..., axis, None].astype(jnp.float32) * jnp.broadcast_to(frequency, theta.shape)
    cos, sin = scaling * jnp.cos(theta), scaling * jnp.sin(theta)
    rows = Turn(jnp.concatenate([cos, cos], axis=-1), jnp.concatenate([-sin, sin], axis=-1))
    return jax.lax.optimization_barrier(rows)  # else XLA computes them anew in every loop that reads them


def rotate(x: Float[Array, "*batch heads head_dim"], turn: Turn) -> Float[Array, "*batch heads head_dim"]:
    """Rotate the pairs (x_j, x_{j + rope_dim / 2}) of every head; dimensions from rope_dim on pass."""
    size = turn.cos.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    # A roll rather than two halves: XLA makes a slow gradient of the latter.
    turned = turned * turn.cos[..., None, :] + jnp.roll(turned, size // 2, axis=-1) * turn.sin[..., None, :]
    return jnp.concatenate([turned, rest], axis=-1) if rest.shape[-1] else turned
