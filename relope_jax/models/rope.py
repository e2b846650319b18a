"""Rotary position embedding with one position axis or several (multimodal RoPE)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from relope_jax.models.spec import BlockSpec


def angles(
    spec: BlockSpec, inv_freq: Float[Array, "half"], positions: Int[Array, "*batch axes"]
) -> Float[Array, "*batch half"]:
    """Rotation angle of every frequency; with sections, frequency j follows the axis of its section."""
    half = inv_freq.shape[0]
    sections = spec.rope_sections or (half,)
    axis = np.repeat(np.arange(len(sections)), sections)
    of_axis = positions[..., axis].astype(jnp.float32)
    return of_axis * jnp.broadcast_to(inv_freq, of_axis.shape)


def rotate(
    x: Float[Array, "*batch heads head_dim"], theta: Float[Array, "*batch half"], scaling: float
) -> Float[Array, "*batch heads head_dim"]:
    """Rotate the pairs (x_j, x_{j + half}) of every head by theta_j."""
    cos = scaling * jnp.cos(theta)[..., None, :]
    sin = scaling * jnp.sin(theta)[..., None, :]
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
