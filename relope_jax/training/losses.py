"""The training objective: `BCE + beta(t) * KL(N(mu, sigma^2) || N(0, I))` (paper equation for ReLope)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from relope_jax.models.probes import RouterOutput
from relope_jax.models.spec import ProbeSpec, ReLopeSpec

ACTIVE_KL = 0.01  # nats; a bottleneck dimension below it carries nothing about the input


def binary_cross_entropy(logit: Float[Array, "batch"], label: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """-log P(label) in nats, stable for large logits."""
    return jax.nn.softplus(logit) - label * logit


def kl_per_dimension(mean: Float[Array, "batch k"], log_var: Float[Array, "batch k"]) -> Float[Array, "batch k"]:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of every dimension, in nats."""
    return 0.5 * (mean * mean + jnp.exp(log_var) - 1.0 - log_var)


def beta_at(spec: ProbeSpec, progress: Float[Array, ""]) -> Float[Array, ""]:
    """beta(t) of ReLope at `progress` in [0, 1]; 0 for methods without a bottleneck."""
    if not isinstance(spec, ReLopeSpec):
        return jnp.zeros_like(progress)
    if spec.beta_schedule == "constant":
        return jnp.full_like(progress, spec.beta)
    return spec.beta * jnp.minimum(progress / spec.beta_warmup, 1.0)


def objective(
    spec: ProbeSpec,
    output: RouterOutput,
    label: Float[Array, "batch"],
    weight: Float[Array, "batch"],
    beta: Float[Array, ""],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Weighted mean loss and its terms; samples of weight 0 (padding of the last batch) do not count."""
    total = jnp.sum(weight)
    bce = jnp.sum(weight * binary_cross_entropy(output.logit, label)) / total
    terms = {"bce": bce}
    loss = bce
    if isinstance(spec, ReLopeSpec):
        assert output.mean is not None
        assert output.log_var is not None
        kl = jnp.sum(weight[:, None] * kl_per_dimension(output.mean, output.log_var), axis=0) / total
        terms["kl_per_dimension"] = jnp.mean(kl)
        terms["active_dimensions"] = jnp.sum(kl > ACTIVE_KL).astype(jnp.float32)
        loss = bce + beta * (jnp.mean(kl) if spec.kl_reduction == "mean" else jnp.sum(kl))
    return loss, terms
