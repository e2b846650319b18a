"""Decoder block l for the last prompt token only, with LoRA, in the absorbed form.

ReLope reads one token of one block (paper section 4.2), so only that token's query, output projection
and MLP are computed, and values are pooled before they are projected:
`ctx_h = W_v (sum_i a_hi x^_i) + b_v`. Exact, not approximate; see DESIGN section 3.
`block_reference` is the readable version that the tests compare with.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from relope_jax.models.batch import TokenBatch
from relope_jax.models.lora import Adapter, adapted
from relope_jax.models.rope import angles, rotate
from relope_jax.models.spec import BlockSpec

ACTIVATIONS = {"silu": jax.nn.silu, "gelu_pytorch_tanh": jax.nn.gelu}
Weights = dict[str, Float[Array, "..."]]
Adapters = dict[str, Adapter]


def last_token_block(
    spec: BlockSpec, weights: Weights, adapters: Adapters, batch: TokenBatch
) -> Float[Array, "batch d"]:
    """z_n^(l) from Z^(l-1).

    Args:
      weights: see `Block`; float32.
      adapters: `{projection: (A, scale * B)}` for any subset of q, k, v, o, gate, up, down.
    """

    def project(name: str, x: Array) -> Array:
        return adapted(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), adapters.get(name))

    residual = batch.hidden[:, -1]
    residual = residual + project("o", attend(spec, weights, adapters, batch))
    x = rms_norm(residual, weights["post_attention_norm"], spec.norm_eps)
    return residual + project("down", ACTIVATIONS[spec.activation](project("gate", x)) * project("up", x))


def attend(
    spec: BlockSpec, weights: Weights, adapters: Adapters, batch: TokenBatch
) -> Float[Array, "batch heads_x_dim"]:
    """Attention output of the last token, before the output projection."""
    size, n, d = batch.hidden.shape
    kv, group, dim = spec.n_kv_heads, spec.n_heads // spec.n_kv_heads, spec.head_dim
    normed = rms_norm(batch.hidden, weights["input_norm"], spec.norm_eps)
    theta = angles(spec, weights["inv_freq"], batch.positions)

    q = adapted(normed[:, -1], weights["q.weight"], weights.get("q.bias"), adapters.get("q"))
    q = rotate(q.reshape(size, kv * group, dim), theta[:, -1], spec.rope_scaling)
    k = adapted(normed, weights["k.weight"], weights.get("k.bias"), adapters.get("k"))
    k = rotate(k.reshape(size, n, kv, dim), theta, spec.rope_scaling)

    scores = jnp.einsum("bkgc,bnkc->bkgn", q.reshape(size, kv, group, dim), k) * spec.attention_scale
    scores = jnp.where(batch.mask[:, None, None, :], scores, -jnp.inf)
    attention = jax.nn.softmax(scores, axis=-1)

    # Pool first, project after: H pooled vectors instead of n projected tokens.
    pooled = jnp.einsum("bkgn,bnd->bkgd", attention, normed)
    context = jnp.einsum("bkgd,kcd->bkgc", pooled, weights["v.weight"].reshape(kv, dim, d))
    if "v" in adapters:
        a, b = adapters["v"]
        context = context + jnp.einsum("bkgr,kcr->bkgc", pooled @ a.T, b.reshape(kv, dim, -1))
    if "v.bias" in weights:
        context = context + weights["v.bias"].reshape(1, kv, 1, dim)
    return context.reshape(size, kv * group * dim)


def rms_norm(x: Float[Array, "*batch d"], gain: Float[Array, "d"], eps: float) -> Float[Array, "*batch d"]:
    """gain * x / sqrt(mean(x^2) + eps)."""
    scale = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)
    return x * scale * jnp.broadcast_to(gain, x.shape)
