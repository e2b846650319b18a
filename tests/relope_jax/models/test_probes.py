"""Parameter trees, starting points and inference of the three routers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from relope_jax.methods import METHODS
from relope_jax.models.batch import gather, padded_length, to_device
from relope_jax.models.block import last_token_block
from relope_jax.models.probes import split_module
from relope_jax.models.spec import AttentionProbeSpec, LoRASpec, ProbeSpec, ReLopeSpec
from relope_jax.states.statistics import token_statistics
from tests.builders import make_block, make_states

WIDTHS = (8, 8, 4, 4)
SPECS = {
    "probe": ProbeSpec(widths=WIDTHS),
    "attention_probe": AttentionProbeSpec(widths=WIDTHS),
    "relope": ReLopeSpec(widths=WIDTHS, bottleneck=6, lora=LoRASpec(rank=2, alpha=4.0, targets=("q", "down"))),
}
MLP_SHAPES = {(8, 8), (8,), (8, 4), (4,), (4, 4), (4, 1), (1,)}


@pytest.fixture
def states():
    return make_states(np.random.default_rng(0), [5, 3, 7])


def build(name, states):
    block = make_block(np.random.default_rng(1))
    return METHODS[name].module(
        SPECS[name], block, token_statistics(states, np.arange(len(states))), rngs=nnx.Rngs(params=0)
    )


def batch_of(states):
    return gather(to_device(states), jnp.arange(len(states), dtype=jnp.int32), padded_length(states))


def shapes(module):
    params = split_module(module).params
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(params)}


def test_parameter_trees(states):
    """Exactly these parameters are trained; the frozen block and the statistics are not among them."""
    probe, attention, relope = (shapes(build(name, states)) for name in ("probe", "attention_probe", "relope"))
    assert probe["mlp/layers/0/kernel"] == (16, 8)
    assert len(probe) == 10  # five layers, kernel and bias each
    assert attention == probe | {"query": (16,)}
    assert relope.items() >= {
        "lora/a/q": (2, 16), "lora/b/q": (32, 2), "lora/a/down": (2, 24), "lora/b/down": (16, 2),
        "mean/kernel": (16, 6), "log_var/kernel": (16, 6), "mlp/layers/0/kernel": (6, 8),
    }.items()  # fmt: skip
    assert len(relope) == 10 + 4 + 4


def test_attention_probe_starts_as_mean_pooling(states):
    output = build("attention_probe", states)(batch_of(states))
    for row, length in zip(np.asarray(output.attention), states.lengths, strict=True):
        np.testing.assert_allclose(row[-length:], 1 / length, rtol=1e-6)
        assert np.all(row[:-length] == 0.0)


def test_attention_weights_follow_the_paper(states):
    """softmax(q.z/sqrt(d)) on standardised states, computed here in plain numpy."""
    module = build("attention_probe", states)
    query = np.random.default_rng(3).normal(size=16).astype(np.float32)
    module.query.set_value(jnp.asarray(query))
    attention = np.asarray(module(batch_of(states)).attention)
    mean, std = states.hidden.mean(axis=0), states.hidden.std(axis=0)
    for i, row in enumerate(attention):
        z = (states.hidden[states.offsets[i] : states.offsets[i + 1]] - mean) / std
        weights = np.exp(z @ query / math.sqrt(16))
        np.testing.assert_allclose(row[-len(z) :], weights / weights.sum(), rtol=1e-4)


def test_relope_starts_from_the_frozen_block(states):
    """B = 0: the bottleneck sees the standardised output of the frozen block, and log sigma^2 = 0."""
    module, batch = build("relope", states), batch_of(states)
    block = make_block(np.random.default_rng(1))
    z = last_token_block(block.spec, block.weights, {}, batch)
    output = module(batch)
    np.testing.assert_allclose(output.mean, module.mean(module.standardize(z)), atol=1e-6)
    assert np.all(np.asarray(output.log_var) == 0.0)


def test_inference_is_deterministic_and_training_is_not(states):
    batch = batch_of(states)
    for name in ("probe", "attention_probe", "relope"):
        module = build(name, states)
        np.testing.assert_array_equal(module(batch).logit, module(batch).logit)
        noisy = [module(batch, jax.random.key(seed)).logit for seed in (0, 1)]
        assert not np.array_equal(*noisy), name


def test_classifier_input_hidden_ignores_the_bottleneck(states):
    """Algorithm 1 feeds the classifier z, so its logit does not depend on the posterior."""
    spec = ReLopeSpec(widths=WIDTHS, classifier_input="hidden", dropout=0.0, lora=LoRASpec(rank=2, alpha=4.0))
    block = make_block(np.random.default_rng(1))
    module = METHODS["relope"].module(
        spec, block, token_statistics(states, np.arange(len(states))), rngs=nnx.Rngs(params=0)
    )
    batch = batch_of(states)
    before = module(batch, jax.random.key(0)).logit
    module.mean.kernel.set_value(module.mean.kernel.get_value() + 1.0)
    np.testing.assert_array_equal(before, module(batch, jax.random.key(5)).logit)
