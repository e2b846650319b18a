"""The three routers of the paper as nnx modules: Probe, Attention Probe and ReLope.

Every module maps a TokenBatch to a RouterOutput whose `logit` is the log-odds of Y = 1, the small
model's greedy answer being right. `key=None` is inference: no dropout, and z' = mu.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import TokenBatch
from relope_jax.block.file import device_weights
from relope_jax.block.lora import LoRA, Setting
from relope_jax.block.pooling import pool_tokens
from relope_jax.block.spec import Block
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec
from relope_jax.states.statistics import Moments, TokenStatistics


class Statistics(nnx.Variable):
    """Per-dimension statistics of the training split: saved with the checkpoint, never trained."""


class Frozen(nnx.Variable):
    """A weight of the frozen block: shared by all seeds, never trained, saved once per run."""


class RouterOutput(NamedTuple):
    """The output of a router for a batch; `mean` and `log_var` only for ReLope, `attention` only for the
    Attention Probe."""

    logit: Float[Array, "batch"]
    mean: Float[Array, "batch k"] | None = None
    log_var: Float[Array, "batch k"] | None = None
    attention: Float[Array, "batch n"] | None = None


class Parts(NamedTuple):
    """A router as a pytree for `jit` and `vmap`; `module` rebuilds it.

    `params` are trained. In an ensemble, every leaf of `params` and `settings` has a leading member axis, and `rest`
    (the frozen block, statistics) is shared.
    """

    graphdef: nnx.GraphDef
    params: nnx.State
    settings: nnx.State
    rest: nnx.State

    def module(self) -> nnx.Module:
        """The router of these parts (without a member axis)."""
        return nnx.merge(*self)


def split_module(module: nnx.Module) -> Parts:
    """The parts of one router."""
    graphdef, *states = nnx.split(module, nnx.Param, Setting, ...)
    return Parts(graphdef, *states)


class Standardize(nnx.Module):
    """(x - mean) / std with statistics of the training split; 0 in dimensions that are constant there.

    Hidden states have a few massive dimensions. On raw states an MLP trains badly and a softmax over q.z saturates.
    """

    def __init__(self, moments: Moments):
        self.mean = Statistics(jnp.asarray(moments.mean))
        self.inv_std = Statistics(jnp.asarray(moments.inverse_std()))

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        mean, inv_std = self.mean.get_value(), self.inv_std.get_value()
        return (x - jnp.broadcast_to(mean, x.shape)) * jnp.broadcast_to(inv_std, x.shape)


class MLP(nnx.Module):
    """`fan_in -> widths -> 1` with GELU and dropout; four widths make the paper's 5-layer MLP."""

    def __init__(self, fan_in: int, spec: ProbeSpec, *, rngs: nnx.Rngs):
        sizes = (fan_in, *spec.widths, 1)
        init = nnx.initializers.he_normal()
        self.layers = nnx.List([nnx.Linear(i, o, kernel_init=init, rngs=rngs) for i, o in itertools.pairwise(sizes)])
        self.dropout = Setting(jnp.asarray(spec.dropout, jnp.float32))

    def __call__(self, x: Float[Array, "batch d"], key: PRNGKeyArray | None) -> Float[Array, "batch"]:
        for i, layer in enumerate(self.layers[:-1]):
            x = jax.nn.gelu(layer(x))
            if key is not None:
                x = dropout(x, self.dropout.get_value(), jax.random.fold_in(key, i))
        return self.layers[-1](x)[:, 0]


def dropout(x: Float[Array, "batch d"], rate: Float[Array, ""], key: PRNGKeyArray) -> Float[Array, "batch d"]:
    """x / (1 - rate) with a share `rate` of its entries set to 0; 16 random bits per entry, as they are expensive."""
    words = jax.random.bits(key, (x.shape[0], -(-x.shape[1] // 2)), jnp.uint32)
    draws = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(x.shape[0], -1)[:, : x.shape[1]]
    keep = draws.astype(jnp.float32) >= rate * 65536
    return jnp.where(keep, x / (1 - rate), 0.0)


class Probe(nnx.Module):
    """MLP on z_n^(l), the baseline of probe routing (paper section 3)."""

    def __init__(self, spec: ProbeSpec, block: Block, statistics: TokenStatistics, *, rngs: nnx.Rngs):
        self.standardize = Standardize(statistics.last_hidden)
        self.mlp = MLP(block.spec.hidden_size, spec, rngs=rngs)

    def __call__(self, batch: TokenBatch, key: PRNGKeyArray | None = None) -> RouterOutput:
        return RouterOutput(self.mlp(self.standardize(batch.last_hidden), key))


class AttentionProbe(nnx.Module):
    """`beta = softmax(q.z_i / sqrt(d))` over the tokens of Z^(l-1), MLP on `sum_i beta_i z_i` (section 4.1).

    q starts at 0, so the initial pooling is the mean over tokens.
    """

    def __init__(self, spec: AttentionProbeSpec, block: Block, statistics: TokenStatistics, *, rngs: nnx.Rngs):
        d = block.spec.hidden_size
        self.standardize = Standardize(statistics.hidden)
        self.query = nnx.Param(jnp.zeros(d))
        self.token_dtype = spec.token_dtype
        self.mlp = MLP(d, spec, rngs=rngs)

    def __call__(self, batch: TokenBatch, key: PRNGKeyArray | None = None) -> RouterOutput:
        # Standardised states are never materialised. In q.z the mean is the same for all tokens and softmax ignores it.
        # The weights sum to 1, so the pooled raw states can be standardised instead.
        hidden = batch.hidden.astype(self.token_dtype)
        query = self.query.get_value() * self.standardize.inv_std.get_value() / math.sqrt(hidden.shape[-1])
        scores = jnp.einsum("bnd,d->bn", hidden, query.astype(self.token_dtype), preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(jnp.where(batch.mask, scores, -jnp.inf), axis=-1)
        pooled = pool_tokens(attention[:, None], hidden, self.token_dtype)[:, 0]
        return RouterOutput(self.mlp(self.standardize(pooled), key), attention=attention)


class ReLope(nnx.Module):
    """Block l with LoRA, a Gaussian bottleneck and the MLP (paper section 4.2).

    `z` = last token of the adapted block; `mu = W z + b`, `log sigma^2 = W' z + b'`;
    `z' = mu + sigma * eps` in training, `z' = mu` at inference.
    """

    def __init__(self, spec: ReLopeSpec, block: Block, statistics: TokenStatistics, *, rngs: nnx.Rngs):
        d = block.spec.hidden_size
        k = spec.bottleneck or d
        self.block_spec, self.classifier_input, self.token_dtype = block.spec, spec.classifier_input, spec.token_dtype
        self.block = nnx.data({name: Frozen(w) for name, w in device_weights(block).items()})
        self.lora = LoRA(spec.lora, block.spec, rngs=rngs)
        self.standardize = Standardize(statistics.last_hidden)  # of the frozen block's output, i.e. for B = 0
        self.mean = nnx.Linear(d, k, rngs=rngs)
        self.log_var = nnx.Linear(d, k, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.mlp = MLP(d if spec.classifier_input == "hidden" else k, spec, rngs=rngs)

    def __call__(self, batch: TokenBatch, key: PRNGKeyArray | None = None) -> RouterOutput:
        weights = {name: w.get_value() for name, w in self.block.items()}
        z = self.standardize(last_token_block(self.block_spec, weights, self.lora.adapters(), batch, self.token_dtype))
        mean, log_var = self.mean(z), self.log_var(z)
        latent = mean
        if key is not None:
            key, noise = jax.random.split(key)
            latent = mean + jnp.exp(0.5 * log_var) * jax.random.normal(noise, mean.shape)
        logit = self.mlp(z if self.classifier_input == "hidden" else latent, key)
        return RouterOutput(logit, mean, log_var)
