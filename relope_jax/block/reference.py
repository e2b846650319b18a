"""Reference implementation of the block: keys and values of every token, then attention.

Slower but easier to check; tests compare `block.last_token_block` with it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from relope_jax.block.absorbed import ACTIVATIONS, Adapters
from relope_jax.block.batch import TokenBatch
from relope_jax.block.layers import rms_norm, rotary_embedding, rotate
from relope_jax.block.lora import adapted
from relope_jax.block.spec import BlockSpec, Weights


def last_token_block_reference(
    spec: BlockSpec, weights: Weights, adapters: Adapters, batch: TokenBatch
) -> Float[Array, "batch d"]:
    """z_n^(l) from Z^(l-1), unabsorbed. Same arguments as `block.last_token_block`; ignores a key cache."""

    def project(name: str, x: Float[Array, "... fan_in"]) -> Float[Array, "... fan_out"]:
        return adapted(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), adapters.get(name))

    def norm(name: str, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return rms_norm(x, weights[name], spec.norm_eps)

    def heads(name: str, x: Float[Array, "batch n d"], count: int) -> Float[Array, "batch n heads head_dim"]:
        return project(name, x).reshape(*x.shape[:-1], count, spec.head_dim)

    normed = norm("input_norm", batch.hidden)
    q = heads("q", normed, spec.n_heads)
    k = heads("k", normed, spec.n_kv_heads)
    v = heads("v", normed, spec.n_kv_heads)
    if spec.qk_norm:
        q, k = norm("q_norm", q), norm("k_norm", k)
    rope = rotary_embedding(weights["frequencies"], batch.positions, spec.rope_scaling)
    q, k = rotate(q, rope), rotate(k, rope)
    k, v = jnp.repeat(k, spec.group, axis=2), jnp.repeat(v, spec.group, axis=2)

    scores = jnp.einsum("bhc,bnhc->bhn", q[:, -1], k) * spec.attention_scale
    if spec.softcap is not None:
        scores = jnp.tanh(scores / spec.softcap) * spec.softcap
    n = scores.shape[-1]
    visible = batch.mask & (jnp.arange(n) > n - 1 - (spec.window or n))[None, :]
    attention = jax.nn.softmax(jnp.where(visible[:, None, :], scores, -jnp.inf), axis=-1)
    attended = project("o", jnp.einsum("bhn,bnhc->bhc", attention, v).reshape(q.shape[0], -1))

    if spec.output_norms:
        attended = norm("attention_output_norm", attended)
    z = batch.hidden[:, -1] + attended
    x = norm("mlp_norm", z)
    x = project("down", ACTIVATIONS[spec.activation](project("gate", x)) * project("up", x))
    if spec.output_norms:
        x = norm("mlp_output_norm", x)
    return z + x
