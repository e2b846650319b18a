"""RMSNorm, whole and as the one scalar a token that the absorbed block needs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def inverse_rms(x: Float[Array, "*batch d"], eps: float) -> Float[Array, "*batch"]:
    """1 / sqrt(mean(x^2) + eps)."""
    return jax.lax.rsqrt(jnp.mean(x * x, axis=-1) + eps)


def rms_norm(x: Float[Array, "*batch d"], gain: Float[Array, "d"], eps: float) -> Float[Array, "*batch d"]:
    """gain * x / sqrt(mean(x^2) + eps)."""
    return x * inverse_rms(x, eps)[..., None] * jnp.broadcast_to(gain, x.shape)
