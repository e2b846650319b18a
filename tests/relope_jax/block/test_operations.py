"""The floor's operation count against XLA's count for the program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import gather, with_key_cache
from relope_jax.block.operations import Work, step_work
from relope_jax.block.spec import PROJECTIONS
from relope_jax.models.padding import to_device
from tests.builders import make_adapters, make_block, make_spec, make_states


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_step_work_is_what_xla_counts(kv_heads):
    """XLA also counts norms, softmax and rotations, a few percent; a missing or duplicated product is more."""
    rng = np.random.default_rng(0)
    spec = make_spec(hidden_size=128, n_heads=4, n_kv_heads=kv_heads, head_dim=32, intermediate_size=256, rope_dim=32)
    block, batch, n, rank = make_block(rng, spec), 4, 64, 32
    states = with_key_cache(to_device(make_states(rng, [n] * batch, d=128)), block)
    cut = gather(states, jnp.arange(batch, dtype=jnp.int32), n)
    adapters = make_adapters(rng, spec, PROJECTIONS, rank)

    def loss(adapters, weights):
        return jnp.sum(last_token_block(spec, weights, adapters, cut) ** 2)

    counted = jax.jit(jax.grad(loss)).lower(adapters, block.weights).cost_analysis()["flops"]
    ours = step_work(spec, rank, batch, n, state_bytes=4).flops
    assert 0.8 < ours / counted <= 1.0


def test_floor_is_the_slower_of_the_two_ceilings():
    work = Work(flops=200.0, bytes=30.0)
    assert work.seconds(flops_per_second=100.0, bytes_per_second=30.0) == 2.0
    assert work.seconds(flops_per_second=100.0, bytes_per_second=10.0) == 3.0
