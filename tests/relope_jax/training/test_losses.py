"""Loss terms compared with torch's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from relope_jax.models.probes import RouterOutput
from relope_jax.models.spec import ProbeSpec, ReLopeSpec
from relope_jax.training.losses import beta_at, binary_cross_entropy, kl_per_dimension, objective
from relope_jax.training.members import Member, hyper
from relope_jax.training.spec import TrainSpec

RNG = np.random.default_rng(0)


def test_bce_is_torchs_also_for_large_logits():
    logit = np.array([-80.0, -1.0, 0.0, 2.0, 90.0], np.float32)
    label = np.array([1.0, 0.0, 1.0, 1.0, 0.0], np.float32)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logit), torch.tensor(label), reduction="none"
    )
    np.testing.assert_allclose(binary_cross_entropy(jnp.asarray(logit), jnp.asarray(label)), expected, rtol=1e-6)


def test_kl_is_torchs():
    mean, log_var = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(torch.tensor(mean), torch.tensor(np.exp(0.5 * log_var))), normal(0.0, 1.0)
    )
    np.testing.assert_allclose(
        kl_per_dimension(jnp.asarray(mean), jnp.asarray(log_var)), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1.0), ("sum", 3.0)])
def test_objective_is_bce_plus_beta_kl(reduction, factor):
    mean, log_var = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    output = RouterOutput(jnp.asarray(RNG.normal(size=4), jnp.float32), jnp.asarray(mean), jnp.asarray(log_var))
    label = jnp.asarray([0.0, 1.0, 1.0, 0.0])
    weight = jnp.asarray([1.0, 1.0, 1.0, 0.0])  # the last sample is padding and must not count
    loss, terms = objective(output, label, weight, jnp.float32(0.5), jnp.asarray(reduction == "sum"))
    bce = float(np.mean(binary_cross_entropy(output.logit, label)[:3]))
    kl = float(np.mean(kl_per_dimension(output.mean, output.log_var)[:3]))
    assert float(loss) == pytest.approx(bce + 0.5 * factor * kl, rel=1e-5)
    assert float(terms["kl_per_dimension"]) == pytest.approx(kl, rel=1e-5)
    assert float(terms["active_dimensions"]) == 3


def settings(spec):
    """The settings of one member."""
    return jax.tree.map(lambda x: x[0], hyper([Member(spec, TrainSpec(), 0)]))


def test_beta_schedules():
    linear = ReLopeSpec(beta=2.0, beta_schedule="linear", beta_warmup=0.5)
    progress = jnp.asarray([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose([beta_at(settings(linear), p) for p in progress], [0.0, 1.0, 2.0, 2.0])
    constant = ReLopeSpec(beta=2.0, beta_schedule="constant")
    np.testing.assert_allclose([beta_at(settings(constant), p) for p in progress], 2.0)
    np.testing.assert_allclose([beta_at(settings(ProbeSpec()), p) for p in progress], 0.0)
