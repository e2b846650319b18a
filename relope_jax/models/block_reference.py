"""The same block written the plain way: keys and values of every token, then attention.

Slower and easier to check by eye; tests hold `block.last_token_block` against it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from relope_jax.models.batch import TokenBatch
from relope_jax.models.block import ACTIVATIONS, Adapters, Weights, rms_norm
from relope_jax.models.lora import adapted
from relope_jax.models.rope import angles, rotate
from relope_jax.models.spec import BlockSpec


def last_token_block_reference(
    spec: BlockSpec, weights: Weights, adapters: Adapters, batch: TokenBatch
) -> Float[Array, "batch d"]:
    """z_n^(l) from Z^(l-1), unabsorbed. Arguments as `block.last_token_block`."""

    def project(name: str, x: Array) -> Array:
        return adapted(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), adapters.get(name))

    def heads(name: str, x: Array, count: int) -> Array:
        return project(name, x).reshape(*x.shape[:-1], count, spec.head_dim)

    normed = rms_norm(batch.hidden, weights["input_norm"], spec.norm_eps)
    theta = angles(spec, weights["inv_freq"], batch.positions)
    q = rotate(heads("q", normed, spec.n_heads), theta, spec.rope_scaling)
    k = rotate(heads("k", normed, spec.n_kv_heads), theta, spec.rope_scaling)
    v = heads("v", normed, spec.n_kv_heads)

    group = spec.n_heads // spec.n_kv_heads
    k, v = jnp.repeat(k, group, axis=2), jnp.repeat(v, group, axis=2)
    scores = jnp.einsum("bhc,bnhc->bhn", q[:, -1], k) * spec.attention_scale
    attention = jax.nn.softmax(jnp.where(batch.mask[:, None, :], scores, -jnp.inf), axis=-1)
    context = jnp.einsum("bhn,bnhc->bhc", attention, v).reshape(q.shape[0], -1)

    z = batch.hidden[:, -1] + project("o", context)
    x = rms_norm(z, weights["post_attention_norm"], spec.norm_eps)
    return z + project("down", ACTIVATIONS[spec.activation](project("gate", x)) * project("up", x))
