"""Padded batches of token states, cut inside jit from states that live on the device."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.file import device_weights
from relope_jax.block.key_cache import KeyCache, build_key_cache
from relope_jax.block.spec import Block
from relope_jax.states.ragged import TokenStates


class TokenBatch(NamedTuple):
    """B prompts padded on the left to n tokens, so that the last prompt token is always column -1."""

    hidden: Float[Array, "batch n d"]  # Z^(l-1), zero where padded
    positions: Int[Array, "batch n axes"]
    mask: Bool[Array, "batch n"]
    last_hidden: Float[Array, "batch d"]  # z_n^(l)
    cache: KeyCache | None = None  # of the frozen block, every entry `[batch, n, ...]`


class DeviceStates(NamedTuple):
    """TokenStates on the device, flat; `starts` and `ends` say which rows belong to a sample."""

    hidden: Float[Array, "tokens d"]
    positions: Int[Array, "tokens axes"]
    starts: Int[Array, "samples"]
    ends: Int[Array, "samples"]
    last_hidden: Float[Array, "samples d"]
    cache: KeyCache | None = None  # see `with_key_cache`


def to_device(states: TokenStates) -> DeviceStates:
    """Move states to the default device."""
    return DeviceStates(
        hidden=jnp.asarray(states.hidden),
        positions=jnp.asarray(states.positions),
        starts=jnp.asarray(states.offsets[:-1], jnp.int32),
        ends=jnp.asarray(states.offsets[1:], jnp.int32),
        last_hidden=jnp.asarray(states.last_hidden),
    )


def with_key_cache(states: DeviceStates, block: Block) -> DeviceStates:
    """The same states with the frozen block's key of every token, computed once and kept on the device."""
    weights = device_weights(block)
    return states._replace(cache=build_key_cache(block.spec, weights, states.hidden, states.positions))


def padded_length(states: TokenStates, multiple: int = 8) -> int:
    """The longest prompt, rounded up so that similar stores share one compiled shape."""
    return int(-(-np.max(states.lengths) // multiple) * multiple)


def pad(states: TokenStates, n: int) -> TokenBatch:
    """All of `states` as one left-padded batch of width n, on the host and in the states' own dtype."""
    mask = np.arange(n)[None] >= n - states.lengths[:, None]
    hidden = np.zeros((*mask.shape, states.hidden.shape[1]), states.hidden.dtype)
    positions = np.zeros((*mask.shape, states.positions.shape[1]), np.int32)
    for i, (begin, end) in enumerate(itertools.pairwise(states.offsets)):
        hidden[i, n - (end - begin) :] = states.hidden[begin:end]
        positions[i, n - (end - begin) :] = states.positions[begin:end]
    arrays: list[Any] = [hidden, positions, mask, states.last_hidden]
    return TokenBatch(*arrays)


def widened(batch: TokenBatch) -> TokenBatch:
    """The batch with its states in float32."""
    return batch._replace(hidden=batch.hidden.astype(jnp.float32))


def gather(states: DeviceStates, rows: Int[Array, "batch"], n: int) -> TokenBatch:
    """Cut the samples `rows` out of flat states as one left-padded batch of width n."""
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
