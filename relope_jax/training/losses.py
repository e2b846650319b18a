"""The training objective `BCE + beta(t) * KL(N(mu, sigma^2) || N(0, I))` (paper equation for ReLope)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from relope_jax.models.probes import RouterOutput
from relope_jax.training.members import Hyper

ACTIVE_KL = 0.01  # nats; a bottleneck dimension below it carries no information about the input


def binary_cross_entropy(logit: Float[Array, "batch"], label: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """-log P(label) in nats, stable for large logits."""
    return jax.nn.softplus(logit) - label * logit


def kl_per_dimension(mean: Float[Array, "batch k"], log_var: Float[Array, "batch k"]) -> Float[Array, "batch k"]:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of every dimension, in nats."""
    return 0.5 * (mean * mean + jnp.exp(log_var) - 1.0 - log_var)


def beta_at(hyper: Hyper, progress: Float[Array, ""]) -> Float[Array, ""]:
    """beta(t) of one member at `progress` in [0, 1]: constant, or rising linearly from 0 over the warm-up."""
    ramp = jnp.minimum(progress / jnp.maximum(hyper.beta_warmup, 1e-9), 1.0)
    return hyper.beta * jnp.where(hyper.beta_warmup > 0, ramp, 1.0)


def objective(
    output: RouterOutput,
    label: Float[Array, "batch"],
    weight: Float[Array, "batch"],
    beta: Float[Array, ""],
    kl_sum: Bool[Array, ""],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Weighted mean loss and its terms; samples with weight 0 (padding of a batch) do not count.

    Args:
      kl_sum: sum the KL over the bottleneck's dimensions instead of averaging it.
    """
    total = jnp.sum(weight)
    bce = jnp.sum(weight * binary_cross_entropy(output.logit, label)) / total
    terms = {"bce": bce, "beta": beta}
    if output.mean is None or output.log_var is None:
        return bce, terms
    kl = jnp.sum(weight[:, None] * kl_per_dimension(output.mean, output.log_var), axis=0) / total
    mean = jnp.mean(kl)
    terms |= {"kl_per_dimension": mean, "active_dimensions": jnp.sum(kl > ACTIVE_KL).astype(jnp.float32)}
    return bce + beta * mean * jnp.where(kl_sum, float(len(kl)), 1.0), terms
