"""Weighted sums of the states of all tokens, with products in a given dtype."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pool_tokens(
    weights: Float[Array, "batch heads n"], hidden: Float[Array, "batch n d"], token_dtype: str
) -> Float[Array, "batch heads d"]:
    """`sum_i weights_i * hidden_i`, with factors in `token_dtype` and float32 sums.

    Rounding changes the sum of the weights. The component common to all tokens (the mean of hidden states is many
    standard deviations) would be off by that factor, which depends on the prompt length. The sum is rescaled, so that
    the common component is exact and only differences between tokens are rounded.
    """
    rounded = weights.astype(token_dtype)
    pooled = jnp.einsum("bhn,bnd->bhd", rounded, hidden.astype(token_dtype), preferred_element_type=jnp.float32)
    if rounded.dtype == weights.dtype:
        return pooled
    total = jnp.sum(rounded.astype(weights.dtype), axis=-1, keepdims=True)
    # Constant for the gradient: gradients pass through rounding unchanged, so the quotient is 1 for them.
    return pooled * jax.lax.stop_gradient(jnp.sum(weights, axis=-1, keepdims=True) / total)
