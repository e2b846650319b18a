"""Padded batches of token states, gathered inside jit from states on the device."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.file import device_weights
from relope_jax.block.key_cache import KeyCache, build_key_cache
from relope_jax.block.spec import Block


class TokenBatch(NamedTuple):
    """B prompts, left-padded to n tokens, so that the last prompt token is always column -1."""

    hidden: Float[Array, "batch n d"]  # Z^(l-1), zero for padding
    positions: Int[Array, "batch n axes"]
    mask: Bool[Array, "batch n"]
    last_hidden: Float[Array, "batch d"]  # z_n^(l)
    cache: KeyCache | None = None  # of the frozen block, every entry `[batch, n, ...]`


class DeviceStates(NamedTuple):
    """Flat TokenStates on the device; `starts` and `ends` are the row range of each sample."""

    hidden: Float[Array, "tokens d"]
    positions: Int[Array, "tokens axes"]
    starts: Int[Array, "samples"]
    ends: Int[Array, "samples"]
    last_hidden: Float[Array, "samples d"]
    cache: KeyCache | None = None  # see `with_key_cache`


def with_key_cache(states: DeviceStates, block: Block) -> DeviceStates:
    """The same states with the frozen block's keys for all tokens, computed once and kept on the device."""
    weights = device_weights(block)
    return states._replace(cache=build_key_cache(block.spec, weights, states.hidden, states.positions))


def widened(batch: TokenBatch) -> TokenBatch:
    """The batch with float32 states."""
    return batch._replace(hidden=batch.hidden.astype(jnp.float32))


def gather(states: DeviceStates, rows: Int[Array, "batch"], n: int) -> TokenBatch:
    """Gather the samples `rows` from flat states as one left-padded batch of width n."""
    tokens = states.ends[rows][:, None] - n + jnp.arange(n, dtype=jnp.int32)[None, :]
    mask = tokens >= states.starts[rows][:, None]
    tokens = jnp.where(mask, tokens, 0)
    hidden = states.hidden[tokens].astype(jnp.float32)
    return TokenBatch(
        hidden=jnp.where(mask[:, :, None], hidden, 0.0),
        positions=states.positions[tokens],
        mask=mask,
        last_hidden=states.last_hidden[rows],
        cache=None if states.cache is None else jax.tree.map(lambda x: x[tokens], states.cache),
    )
