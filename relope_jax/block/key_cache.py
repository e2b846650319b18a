"""The per-token values of the frozen block that training does not change: RMS, key and rotation.

They can be computed once and cached, so that a training step multiplies the states only with the adapter on k.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from relope_jax.block.layers import RotaryEmbedding, inverse_rms, rotary_embedding
from relope_jax.block.spec import AnyArray, BlockSpec, Weights
from relope_jax.precision import jit

CHUNK = 4096  # tokens per projection; bounds the float32 copy of bfloat16 states


class KeyCache(NamedTuple):
    """`keys` is `W_k x^ + b_k`, before a family's key norm and RoPE; the adapter's part is added at this point."""

    inverse_rms: Float[Array, "*tokens"]
    keys: Float[Array, "*tokens kv_x_dim"]
    rope: RotaryEmbedding


def frozen_keys(
    spec: BlockSpec,
    weights: Weights,
    hidden: Float[Array, "*tokens d"],
    positions: Int[Array, "*tokens axes"],
) -> KeyCache:
    """The cache of `hidden`, float32. The norm's scalar and gain move past the projection (exact)."""
    scale = inverse_rms(hidden, spec.norm_eps)
    keys = project_normed(hidden, scale, weights["input_norm"], weights["k.weight"])
    if "k" in spec.biases:
        keys = keys + jnp.broadcast_to(weights["k.bias"], keys.shape)
    return KeyCache(scale, keys, rotary_embedding(weights["frequencies"], positions, spec.rope_scaling))


def project_normed(
    hidden: Float[Array, "*tokens d"],
    scale: Float[Array, "*tokens"],
    gain: Float[AnyArray, "d"],
    weight: Float[AnyArray, "out d"],
    token_dtype: str = "float32",
) -> Float[Array, "*tokens out"]:
    """`W x^` for normalised tokens x^ = scale * gain * z, without materialising x^."""
    weight = (weight * jnp.broadcast_to(gain, weight.shape)).astype(token_dtype)
    return scale[..., None] * jnp.matmul(hidden.astype(token_dtype), weight.T, preferred_element_type=jnp.float32)


@functools.partial(jit, static_argnums=0)
def build_key_cache(
    spec: BlockSpec,
    weights: Weights,
    hidden: Float[Array, "tokens d"],
    positions: Int[Array, "tokens axes"],
) -> KeyCache:
    """The cache of flat states of any float dtype, built in chunks without copying the states or the cache."""
    size = min(CHUNK, hidden.shape[0])
    starts = jnp.minimum(jnp.arange(0, hidden.shape[0], size), hidden.shape[0] - size)  # the last one overlaps

    def of(hidden: Float[Array, "chunk d"], positions: Int[Array, "chunk axes"]) -> KeyCache:
        return frozen_keys(spec, weights, hidden.astype(jnp.float32), positions)

    def add_chunk(cache: KeyCache, start: Int[Array, ""]) -> tuple[KeyCache, None]:
        chunk = of(*(jax.lax.dynamic_slice_in_dim(x, start, size) for x in (hidden, positions)))
        write = jax.lax.dynamic_update_slice_in_dim
        return jax.tree.map(lambda whole, part: write(whole, part, start, 0), cache, chunk), None

    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of, hidden, positions))
    return jax.lax.scan(add_chunk, empty, starts)[0]
