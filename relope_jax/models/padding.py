"""Converts ragged states to model inputs: flat on the device, or padded batches on the host."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

from relope_jax.block.batch import DeviceStates, TokenBatch
from relope_jax.states.ragged import TokenStates


def to_device(states: TokenStates) -> DeviceStates:
    """Move states to the default device."""
    return DeviceStates(
        hidden=jnp.asarray(states.hidden),
        positions=jnp.asarray(states.positions),
        starts=jnp.asarray(states.offsets[:-1], jnp.int32),
        ends=jnp.asarray(states.offsets[1:], jnp.int32),
        last_hidden=jnp.asarray(states.last_hidden),
    )


def padded_length(states: TokenStates, multiple: int = 8) -> int:
    """Length of the longest prompt, rounded up so that similar stores share one compiled shape."""
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
