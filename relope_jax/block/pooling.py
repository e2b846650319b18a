"""Weighted sums of the states of all tokens, in the dtype that the products are asked for in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pool_tokens(
    weights: Float[Array, "batch heads n"], hidden: Float[Array, "batch n d"], token_dtype: str
) -> Float[Array, "batch heads d"]:
    """`sum_i weights_i * hidden_i`, with factors in `token_dtype` and float32 sums.

    Rounded weights do not sum to what the weights sum to, and what all tokens have in common (hidden states have a
    mean of many standard deviations) would be off by that factor, differently for every prompt length. The sum is
    scaled back, so that what is common is exact and only what differs between tokens is rounded.
    """
    rounded = weights.astype(token_dtype)
    pooled = jnp.einsum("bhn,bnd->bhd", rounded, hidden.astype(token_dtype), preferred_element_type=jnp.float32)
    if rounded.dtype == weights.dtype:
        return pooled
    total = jnp.sum(rounded.astype(weights.dtype), axis=-1, keepdims=True)
    # A constant of the gradient: rounding passes gradients as if it were not there, and then the quotient is 1.
    return pooled * jax.lax.stop_gradient(jnp.sum(weights, axis=-1, keepdims=True) / total)
