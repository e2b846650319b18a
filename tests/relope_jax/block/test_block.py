"""The absorbed block against the readable one, over random shapes, adapters, biases and position axes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.block.batch import TokenBatch, gather, with_key_cache
from relope_jax.block.file import load_block, save_block
from relope_jax.block.spec import ACTIVATION_NAMES, PROJECTIONS
from relope_jax.errors import ReLopeError
from relope_jax.models.padding import to_device
from tests.builders import compiled_block, compiled_reference, make_adapters, make_block, make_spec, make_states


def cut(states, n: int | None = None) -> TokenBatch:
    """All samples as one batch, padded to n tokens."""
    lengths = np.asarray(states.ends - states.starts)
    return gather(states, jnp.arange(len(lengths), dtype=jnp.int32), n or 12)


def relative(ours, theirs) -> float:
    return float(jnp.abs(ours - theirs).max() / jnp.abs(theirs).max())


@st.composite
def changes(draw) -> dict:
    """Settings of blocks of every shape and arithmetic that a family may ask for."""
    heads, kv = draw(st.sampled_from([(4, 4), (4, 2), (3, 1)]))
    return {
        "hidden_size": 20,  # few sizes, because every new shape is compiled
        "n_heads": heads,
        "n_kv_heads": kv,
        "head_dim": draw(st.sampled_from([8, 10])),
        "activation": draw(st.sampled_from(ACTIVATION_NAMES)),
        "rope_dim": draw(st.sampled_from([4, 8])),
        "rope_axes": draw(st.integers(1, 3)),
        "rope_scaling": draw(st.sampled_from([1.0, 1.2])),
        "biases": tuple(draw(st.sets(st.sampled_from(PROJECTIONS)))),
        "qk_norm": draw(st.booleans()),
        "output_norms": draw(st.booleans()),
        "softcap": draw(st.sampled_from([None, 1.5])),
        "window": draw(st.sampled_from([None, 1, 4])),
    }


CASES = {
    "changes": changes(),
    "seed": st.integers(0, 2**16),
    "lengths": st.lists(st.integers(1, 9), min_size=3, max_size=3),
    "targets": st.sets(st.sampled_from(PROJECTIONS)),
    "cached": st.booleans(),
    "rank": st.sampled_from([3, 48]),  # narrower and wider than any key
}


@given(**CASES)
@settings(max_examples=3, deadline=None)
def test_absorbed_equals_reference(**case):
    absorbed_equals_reference(**case)


@pytest.mark.slow
@given(**CASES)
@settings(max_examples=8, deadline=None)
def test_absorbed_equals_reference_in_more_cases(**case):
    absorbed_equals_reference(**case)


def absorbed_equals_reference(changes, seed, lengths, targets, cached, rank):
    """Same mathematics in another order, forward and for every LoRA gradient: 2e-5 relative to the largest
    entry covers float32 summation order. Padded tokens get exactly zero gradient."""
    rng, spec = np.random.default_rng(seed), make_spec(**changes)
    block = make_block(rng, spec)
    states = to_device(make_states(rng, lengths, d=spec.hidden_size, axes=spec.rope_axes))
    plain = cut(states)
    batch = cut(with_key_cache(states, block)) if cached else plain
    adapters = make_adapters(rng, spec, sorted(targets), rank)
    direction = jnp.asarray(rng.normal(size=(len(lengths), spec.hidden_size)), jnp.float32)

    def absorbed(adapters):
        z = compiled_block(spec, block.weights, adapters, batch)
        return jnp.sum(z * direction), z

    def reference(adapters):
        z = compiled_reference(spec, block.weights, adapters, plain)
        return jnp.sum(z * direction), z

    (_, z), gradient = jax.jit(jax.value_and_grad(absorbed, has_aux=True))(adapters)
    (_, z_ref), gradient_ref = jax.jit(jax.value_and_grad(reference, has_aux=True))(adapters)
    assert relative(z, z_ref) <= 2e-5
    largest = max((float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient_ref)), default=0.0)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_ref), strict=True):
        assert float(jnp.abs(ours - theirs).max()) <= 2e-5 * largest

    def of_hidden(hidden):
        return jnp.sum(compiled_block(spec, block.weights, adapters, batch._replace(hidden=hidden)))

    gradient = np.asarray(jax.jit(jax.grad(of_hidden))(batch.hidden))
    assert np.isfinite(gradient).all()
    assert np.all(gradient[~np.asarray(batch.mask)] == 0.0)


def test_key_cache_is_the_frozen_key_of_every_token():
    rng = np.random.default_rng(3)
    block = make_block(rng, make_spec(biases=("k",)))
    states = to_device(make_states(rng, [5, 7]))
    keys = with_key_cache(states, block).cache.keys
    hidden = np.asarray(states.hidden, np.float64)
    normed = hidden / np.sqrt((hidden**2).mean(axis=1, keepdims=True) + 1e-5) * block.weights["input_norm"]
    np.testing.assert_allclose(keys, normed @ block.weights["k.weight"].T + block.weights["k.bias"], atol=1e-5)


def test_window_hides_older_tokens():
    """With a window of 3, tokens before the last three have no effect; the third last has one."""
    rng = np.random.default_rng(4)
    block, batch = make_block(rng, make_spec(window=3)), cut(to_device(make_states(rng, [8])), 8)
    z = compiled_block(block.spec, block.weights, {}, batch)
    for column, changes in ((4, False), (5, True)):
        moved = batch._replace(hidden=batch.hidden.at[0, column].add(1.0))
        assert bool(jnp.any(compiled_block(block.spec, block.weights, {}, moved) != z)) == changes


def test_weights_must_be_those_of_the_spec():
    rng = np.random.default_rng(5)
    block = make_block(rng)
    with pytest.raises(ReLopeError, match=r"'k_norm' of a llama block is absent, but its spec requires 8"):
        dataclasses.replace(block, spec=make_spec(qk_norm=True))
    with pytest.raises(ReLopeError, match=r"'q.bias' of a llama block is 32, but its spec requires absent"):
        dataclasses.replace(block, weights=block.weights | {"q.bias": np.zeros(32, np.float32)})


def test_block_survives_its_file(tmp_path):
    rng = np.random.default_rng(6)
    block = make_block(rng, make_spec(qk_norm=True, biases=("q", "k"), window=4, softcap=2.5, rope_axes=3))
    block = dataclasses.replace(block, modules={"q": "model.layers.1.self_attn.q_proj"})
    save_block(tmp_path / "block.safetensors", block)
    loaded = load_block(tmp_path / "block.safetensors")
    assert (loaded.spec, loaded.modules) == (block.spec, block.modules)
    for name, weight in block.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(ReLopeError, match=r"other.safetensors is not a decoder block"):
        load_block(tmp_path / "other.safetensors")


def test_padding_changes_nothing_and_gets_no_gradient():
    rng = np.random.default_rng(1)
    block, states = make_block(rng), make_states(rng, [5, 1, 8])
    narrow, wide = cut(to_device(states), 8), cut(to_device(states), 24)
    np.testing.assert_allclose(
        compiled_block(block.spec, block.weights, {}, narrow),
        compiled_block(block.spec, block.weights, {}, wide),
        atol=1e-6,
    )

    def total(hidden):
        return jnp.sum(compiled_block(block.spec, block.weights, {}, wide._replace(hidden=hidden)))

    gradient = np.asarray(jax.jit(jax.grad(total))(wide.hidden))
    assert np.all(gradient[~np.asarray(wide.mask)] == 0.0)
    assert np.abs(gradient[np.asarray(wide.mask)]).min(axis=0).max() > 0.0


def test_only_relative_positions_matter():
    """RoPE is relative, so a constant shift of a prompt's positions does not change z_n."""
    rng = np.random.default_rng(2)
    block, batch = make_block(rng), cut(to_device(make_states(rng, [6, 4])))
    shifted = batch._replace(positions=batch.positions + 7)
    moved = batch._replace(positions=batch.positions * 2)
    z = compiled_block(block.spec, block.weights, {}, batch)
    np.testing.assert_allclose(z, compiled_block(block.spec, block.weights, {}, shifted), atol=1e-5)
    assert float(jnp.max(jnp.abs(z - compiled_block(block.spec, block.weights, {}, moved)))) > 1e-3
