"""Decoder block l for the last prompt token only, with LoRA, in the absorbed form.

ReLope reads one token of one block (paper section 4.2). Only that token's query, output projection and MLP are
computed, values are pooled before projection, and no normalised copy of the states is materialised. This is exact; see
docs/design/absorbed_block.md for the derivation. Tests compare with the readable version, `block.reference`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from relope_jax.block.batch import TokenBatch
from relope_jax.block.key_cache import frozen_keys, project_normed
from relope_jax.block.layers import rms_norm, rotate
from relope_jax.block.lora import Adapter, adapted
from relope_jax.block.pooling import pool_tokens
from relope_jax.block.spec import BlockSpec, Weights

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_pytorch_tanh": jax.nn.gelu,
}
Adapters = dict[str, Adapter]


def last_token_block(
    spec: BlockSpec, weights: Weights, adapters: Adapters, batch: TokenBatch, token_dtype: str = "float32"
) -> Float[Array, "batch d"]:
    """z_n^(l) from Z^(l-1).

    Args:
      weights: see `block_spec.weight_shapes`; float32.
      adapters: `{projection: (A, scale * B)}` for any subset of q, k, v, o, gate, up, down.
      batch: frozen keys are read from its key cache if it has one, else computed here.
      token_dtype: dtype of the factors in products with the states of all tokens; sums are float32.
    """

    def project(name: str, x: Float[Array, "batch fan_in"]) -> Float[Array, "batch fan_out"]:
        return adapted(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), adapters.get(name))

    attended = project("o", attend(spec, weights, adapters, batch, token_dtype))
    if spec.output_norms:
        attended = rms_norm(attended, weights["attention_output_norm"], spec.norm_eps)
    residual = batch.hidden[:, -1] + attended

    x = rms_norm(residual, weights["mlp_norm"], spec.norm_eps)
    x = project("down", ACTIVATIONS[spec.activation](project("gate", x)) * project("up", x))
    if spec.output_norms:
        x = rms_norm(x, weights["mlp_output_norm"], spec.norm_eps)
    return residual + x


def attend(
    spec: BlockSpec, weights: Weights, adapters: Adapters, batch: TokenBatch, token_dtype: str = "float32"
) -> Float[Array, "batch heads_x_dim"]:
    """Attention output of the last token, before the output projection."""
    size, n, d = batch.hidden.shape
    kv, dim = spec.n_kv_heads, spec.head_dim
    gain = weights["input_norm"]
    scale, keys, rope = batch.cache or frozen_keys(spec, weights, batch.hidden, batch.positions)

    last = batch.hidden[:, -1] * scale[:, -1, None] * jnp.broadcast_to(gain, (size, d))
    q = adapted(last, weights["q.weight"], weights.get("q.bias"), adapters.get("q"))
    if "k" in adapters:
        a, b = adapters["k"]
        if a.shape[0] < b.shape[0]:
            keys = keys + project_normed(batch.hidden, scale, gain, a, token_dtype) @ b.T
        else:  # keys no wider than the rank: one product with the states suffices for both matrices
            keys = keys + project_normed(batch.hidden, scale, gain, b @ a, token_dtype)

    q, k = q.reshape(size, spec.n_heads, dim), keys.reshape(size, n, kv, dim)
    if spec.qk_norm:
        q, k = rms_norm(q, weights["q_norm"], spec.norm_eps), rms_norm(k, weights["k_norm"], spec.norm_eps)
    q, k = rotate(q, jax.tree.map(lambda row: row[:, -1], rope)), rotate(k, rope)
    scores = jnp.einsum("bkgc,bnkc->bkgn", q.reshape(size, kv, spec.group, dim), k)
    attention = attention_weights(spec, scores, batch.mask)

    # The RMSNorm of a token is a scalar, which joins its attention weight, and a gain, which all tokens share.
    pooled = pool(attention * scale[:, None, None, :], batch.hidden, token_dtype)
    return project_pooled(spec, weights, adapters, pooled * jnp.broadcast_to(gain, pooled.shape))


def pool(
    attention: Float[Array, "batch kv group n"], hidden: Float[Array, "batch n d"], token_dtype: str = "float32"
) -> Float[Array, "batch kv group d"]:
    """Weighted sums of the raw states, one per head."""
    size, kv, group, n = attention.shape
    return pool_tokens(attention.reshape(size, kv * group, n), hidden, token_dtype).reshape(size, kv, group, -1)


def project_pooled(
    spec: BlockSpec, weights: Weights, adapters: Adapters, pooled: Float[Array, "batch kv group d"]
) -> Float[Array, "batch heads_x_dim"]:
    """Apply W_v, its adapter and bias to the pooled states: H vectors per prompt instead of n tokens."""
    kv, dim = spec.n_kv_heads, spec.head_dim
    context = jnp.einsum("bkgd,kcd->bkgc", pooled, weights["v.weight"].reshape(kv, dim, -1))
    if "v" in adapters:
        a, b = adapters["v"]
        context = context + jnp.einsum("bkgr,kcr->bkgc", pooled @ a.T, b.reshape(kv, dim, -1))
    if "v" in spec.biases:  # attention weights sum to 1, so the bias is unchanged
        context = context + weights["v.bias"].reshape(1, kv, 1, dim)
    return context.reshape(pooled.shape[0], -1)


def attention_weights(
    spec: BlockSpec, scores: Float[Array, "batch kv group n"], mask: Bool[Array, "batch n"]
) -> Float[Array, "batch kv group n"]:
    """Scale, soft cap, window and softmax of the last token's raw scores `q.k`; exactly 0 for padding."""
    scores = scores * spec.attention_scale
    if spec.softcap is not None:
        scores = spec.softcap * jnp.tanh(scores / spec.softcap)
    if spec.window is not None:
        n = mask.shape[1]
        mask = mask & (jnp.arange(n) >= n - spec.window)[None, :]
    return jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, -jnp.inf), axis=-1)
