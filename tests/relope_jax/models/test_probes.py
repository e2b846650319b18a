"""Parameter trees, initial values and inference of the three routers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import gather
from relope_jax.block.spec import LoRASpec
from relope_jax.methods import METHODS
from relope_jax.models.padding import padded_length, to_device
from relope_jax.models.probes import Standardize, split_module
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec
from relope_jax.states.statistics import MomentSums, token_statistics
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
    assert len(probe) == 10  # kernel and bias of five layers
    assert attention == probe | {"query": (16,)}
    assert (
        relope.items()
        >= {
            "lora/a/q": (2, 16),
            "lora/b/q": (32, 2),
            "lora/a/down": (2, 24),
            "lora/b/down": (16, 2),
            "mean/kernel": (16, 6),
            "log_var/kernel": (16, 6),
            "mlp/layers/0/kernel": (6, 8),
        }.items()
    )
    assert len(relope) == 10 + 4 + 4


def test_attention_probe_starts_as_mean_pooling(states):
    output = build("attention_probe", states)(batch_of(states))
    for row, length in zip(np.asarray(output.attention), states.lengths, strict=True):
        np.testing.assert_allclose(row[-length:], 1 / length, rtol=1e-6)
        assert np.all(row[:-length] == 0.0)


def test_attention_weights_follow_the_paper(states):
    """softmax(q.z/sqrt(d)) on standardised states, recomputed in numpy."""
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
    """Algorithm 1 feeds z to the classifier, so its logit does not depend on the posterior."""
    spec = ReLopeSpec(widths=WIDTHS, classifier_input="hidden", dropout=0.0, lora=LoRASpec(rank=2, alpha=4.0))
    block = make_block(np.random.default_rng(1))
    module = METHODS["relope"].module(
        spec, block, token_statistics(states, np.arange(len(states))), rngs=nnx.Rngs(params=0)
    )
    batch = batch_of(states)
    before = module(batch, jax.random.key(0)).logit
    module.mean.kernel.set_value(module.mean.kernel.get_value() + 1.0)
    np.testing.assert_array_equal(before, module(batch, jax.random.key(5)).logit)


def dimensions(kind: str, n: int) -> np.ndarray:
    """Values of one uninformative dimension of n training tokens."""
    noise = np.random.default_rng(7).normal(size=n)
    return {
        "zero": np.zeros(n),
        "constant": np.full(n, 3.7),
        "massive constant": np.full(n, -4096.0),
        "constant with float32 rounding": 3.7 * (1 + 1e-7 * noise),
        "massive with float32 rounding": 4000 * (1 + 1e-6 * noise),
        "rounding around zero": 1e-8 * noise,
        "subnormal": 1e-40 * noise,
    }[kind].astype(np.float32)


KINDS = (
    "zero",
    "constant",
    "massive constant",
    "constant with float32 rounding",
    "massive with float32 rounding",
    "rounding around zero",
    "subnormal",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dimension_that_is_constant_in_training_is_zeroed(kind):
    """A new prompt with a slightly different value must not have it scaled by a million."""
    x = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    x[:, 3] = dimensions(kind, 500)
    sums = MomentSums()
    sums.add(x)
    standardize = Standardize(sums.moments())
    new = x[:5].copy()
    new[:, 3] += 1e-3
    got = np.asarray(standardize(jnp.asarray(new)))
    assert (got[:, 3] == 0.0).all()
    others = np.delete(np.arange(16), 3)
    expected = (new - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-30)
    np.testing.assert_allclose(got[:, others], expected[:, others], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1e-3), (0.0, 1e3), (5.0, 1e-3), (3000.0, 1.0), (1e4, 0.5)])
def test_a_dimension_that_varies_is_kept_however_little(mean, std):
    """Small relative to other dimensions or to its own mean: a massive activation varies by parts per thousand."""
    x = np.random.default_rng(0).normal(size=(500, 16))
    x[:, 3] = mean + std * x[:, 3]
    sums = MomentSums()
    sums.add(x.astype(np.float32))
    got = np.asarray(Standardize(sums.moments())(jnp.asarray(x, jnp.float32)))
    assert got[:, 3].std() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1e6])
def test_the_scale_of_all_dimensions_means_nothing(scale):
    x = np.random.default_rng(0).normal(size=(500, 16))
    sums = MomentSums()
    sums.add((scale * x).astype(np.float32))
    got = np.asarray(Standardize(sums.moments())(jnp.asarray(scale * x, jnp.float32)))
    np.testing.assert_allclose(got, (x - x.mean(axis=0)) / x.std(axis=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["probe", "attention_probe"])  # ReLope's block reads unstandardised states
def test_constant_dimensions_change_no_logit(name, states):
    """For every router, the output does not depend on a new prompt's values there."""
    for array in (states.hidden, states.last_hidden):
        array[:, 3] = 2.0
    module = build(name, states)
    if name == "attention_probe":
        module.query.set_value(jnp.ones(16))
    before = module(batch_of(states)).logit
    for array in (states.hidden, states.last_hidden):
        array[:, 3] += 0.5
    np.testing.assert_allclose(module(batch_of(states)).logit, before, atol=1e-6)
