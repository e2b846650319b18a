"""The absorbed block against the readable one, over random shapes, adapters, biases and position axes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.models.batch import TokenBatch, gather, padded_length, to_device
from relope_jax.models.block import last_token_block
from relope_jax.models.block_reference import last_token_block_reference
from relope_jax.models.spec import PROJECTIONS
from tests.builders import make_adapters, make_block, make_spec, make_states


def batch_of(states, n: int | None = None) -> TokenBatch:
    rows = jnp.arange(len(states), dtype=jnp.int32)
    return gather(to_device(states), rows, n or padded_length(states))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    targets=st.sets(st.sampled_from(PROJECTIONS)),
    biases=st.sets(st.sampled_from(("q", "k", "v", "o"))),
    groups=st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    multi_axis=st.booleans(),
)
def test_absorbed_equals_reference(seed, lengths, targets, biases, groups, multi_axis):
    """Same mathematics in another order: 1e-5 relative covers float32 summation order."""
    rng = np.random.default_rng(seed)
    sections = (1, 2, 1) if multi_axis else None
    spec = make_spec(n_heads=groups[0], n_kv_heads=groups[1], rope_sections=sections, rope_scaling=1.1)
    block = make_block(rng, spec, tuple(biases))
    batch = batch_of(make_states(rng, lengths, axes=3 if multi_axis else 1))
    adapters = make_adapters(rng, spec, sorted(targets))
    absorbed = last_token_block(spec, block.weights, adapters, batch)
    reference = last_token_block_reference(spec, block.weights, adapters, batch)
    assert float(jnp.max(jnp.abs(absorbed - reference))) <= 1e-5 * float(jnp.max(jnp.abs(reference)))


def test_padding_changes_nothing_and_gets_no_gradient():
    rng = np.random.default_rng(1)
    block, states = make_block(rng), make_states(rng, [5, 1, 8])
    narrow, wide = batch_of(states, 8), batch_of(states, 24)
    np.testing.assert_allclose(
        last_token_block(block.spec, block.weights, {}, narrow),
        last_token_block(block.spec, block.weights, {}, wide),
        atol=1e-6,
    )

    def total(hidden):
        return jnp.sum(last_token_block(block.spec, block.weights, {}, wide._replace(hidden=hidden)))

    gradient = np.asarray(jax.grad(total)(wide.hidden))
    assert np.all(gradient[~np.asarray(wide.mask)] == 0.0)
    assert np.abs(gradient[np.asarray(wide.mask)]).min(axis=0).max() > 0.0


def test_only_relative_positions_matter():
    """RoPE is relative, so a constant shift of a prompt's positions leaves z_n as it was."""
    rng = np.random.default_rng(2)
    block, batch = make_block(rng), batch_of(make_states(rng, [6, 4]))
    shifted = batch._replace(positions=batch.positions + 7)
    moved = batch._replace(positions=batch.positions * 2)
    z = last_token_block(block.spec, block.weights, {}, batch)
    np.testing.assert_allclose(z, last_token_block(block.spec, block.weights, {}, shifted), atol=1e-5)
    assert float(jnp.max(jnp.abs(z - last_token_block(block.spec, block.weights, {}, moved)))) > 1e-3
