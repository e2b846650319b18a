"""Pooling in bfloat16: what all tokens have in common is preserved for every prompt length."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from relope_jax.block.absorbed import attend
from relope_jax.block.batch import gather
from relope_jax.block.pooling import pool_tokens
from relope_jax.models.padding import to_device
from relope_jax.models.probes import AttentionProbe
from relope_jax.models.spec import AttentionProbeSpec
from relope_jax.states.ragged import TokenStates
from relope_jax.states.statistics import token_statistics
from tests.builders import make_block

LENGTHS = [1, 2, 3, 5, 6, 7, 11, 29, 100, 171, 333]
MEAN, SIGNAL = 24.0, 0.04  # of a hidden-state dimension, in standard deviations over tokens


def tokens(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    """States as in a store: bfloat16 numbers far from 0."""
    drawn = MEAN + np.random.default_rng(seed).normal(size=(1, n, d))
    return drawn.astype(ml_dtypes.bfloat16).astype(np.float32)


def softmax(n: int, sharpness: float, heads: int = 3, seed: int = 1) -> np.ndarray:
    weights = np.exp(sharpness * np.random.default_rng(seed).normal(size=(1, heads, n)))
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("sharpness", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("n", LENGTHS)
def test_the_mean_of_the_states_leaves_no_shift(n, sharpness):
    """Without the scale, uniform weights 1/n leave 24 * (n * bfloat16(1/n) - 1): up to 0.09, twice the signal."""
    states, weights = tokens(n), softmax(n, sharpness)
    pooled = np.asarray(pool_tokens(jnp.asarray(weights), jnp.asarray(states), "bfloat16"))
    exact = np.einsum("bhn,bnd->bhd", weights.astype(np.float64), states.astype(np.float64))
    assert np.abs(pooled - exact).max() < SIGNAL / 8


@pytest.mark.parametrize("n", LENGTHS)
def test_what_is_common_to_all_tokens_is_exact(n):
    """Including weights that do not sum to 1, such as attention times a token's inverse RMS."""
    states = np.broadcast_to(np.linspace(-3000, 3000, 16, dtype=np.float32).astype(ml_dtypes.bfloat16), (1, n, 16))
    weights = softmax(n, 1.0) * np.random.default_rng(2).uniform(0.01, 5, (1, 3, n)).astype(np.float32)
    pooled = np.asarray(pool_tokens(jnp.asarray(weights), jnp.asarray(states), "bfloat16"))
    np.testing.assert_allclose(pooled, weights.sum(-1)[..., None] * states[:, :1].astype(np.float32), rtol=1e-5)


def test_float32_is_the_plain_sum():
    states, weights = jnp.asarray(tokens(29)), jnp.asarray(softmax(29, 1.0))
    np.testing.assert_array_equal(pool_tokens(weights, states, "float32"), jnp.einsum("bhn,bnd->bhd", weights, states))


def test_gradients_are_those_of_the_sum():
    """Rounding and the scale are not differentiated; bfloat16 factors allow a few thousandths."""
    states, weights = jnp.asarray(tokens(29)), jnp.asarray(softmax(29, 1.0))
    direction = jnp.asarray(np.random.default_rng(3).normal(size=(1, 3, 16)), jnp.float32)
    found, exact = (
        jax.grad(lambda w, dtype=dtype: jnp.sum(direction * pool_tokens(w, states, dtype)))(weights)
        for dtype in ("bfloat16", "float32")
    )
    np.testing.assert_allclose(found, exact, atol=0.01 * np.abs(exact).max())


def prompts() -> TokenStates:
    """One prompt of every length, all with the same mean."""
    hidden = np.concatenate([tokens(n, seed=i)[0] for i, n in enumerate(LENGTHS)])
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    positions = np.concatenate([np.arange(n) for n in LENGTHS])[:, None].astype(np.int32)
    return TokenStates(hidden, positions, offsets, hidden[offsets[1:] - 1])


def test_the_attention_probes_logit_does_not_depend_on_the_dtype():
    """All lengths in one padded batch; with q at its start and after it has moved."""
    states = prompts()
    statistics = token_statistics(states, np.arange(len(states)))
    batch = gather(to_device(states), jnp.arange(len(states), dtype=jnp.int32), max(LENGTHS))
    for query in (np.zeros(16), np.random.default_rng(5).normal(size=16)):
        inputs = {}
        for dtype in ("float32", "bfloat16"):
            spec = AttentionProbeSpec(widths=(8, 8), token_dtype=dtype)
            module = AttentionProbe(spec, make_block(np.random.default_rng(1)), statistics, rngs=nnx.Rngs(params=0))
            module.query.set_value(jnp.asarray(query, jnp.float32))
            seen = []
            module.mlp = lambda x, key, seen=seen: seen.append(x) or x[:, 0]
            module(batch)
            inputs[dtype] = np.asarray(seen[0])
        np.testing.assert_allclose(inputs["bfloat16"], inputs["float32"], atol=SIGNAL / 2)


def test_the_blocks_attention_is_not_shifted_by_the_length():
    """Relative to the size of its values. Rounded weights alone would be off by up to 1/256 for all heads."""
    states, block = prompts(), make_block(np.random.default_rng(1))
    weights = {name: jnp.asarray(weight) for name, weight in block.weights.items()}
    weights |= {"q.weight": 0.01 * weights["q.weight"]}  # nearly uniform attention: all weights round alike
    batch = gather(to_device(states), jnp.arange(len(states), dtype=jnp.int32), max(LENGTHS))
    exact, rounded = (np.asarray(attend(block.spec, weights, {}, batch, dtype)) for dtype in ("float32", "bfloat16"))
    shift = np.abs(rounded - exact).max(axis=1) / np.abs(exact).max(axis=1)
    assert shift.max() < 5e-4
