"""Builds the parts of an ensemble from its members, and extracts a member."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from relope_jax.block.file import device_weights
from relope_jax.block.spec import AnyArray, Block
from relope_jax.methods import TrainedMethod
from relope_jax.models.probes import Parts, split_module
from relope_jax.models.spec import ProbeSpec
from relope_jax.states.statistics import TokenStatistics
from relope_jax.training.members import Member


def assemble(method: TrainedMethod, members: Sequence[Member], block: Block, statistics: TokenStatistics) -> Parts:
    """Parts of all members with a leading member axis, each initialised as if trained alone."""
    return stack(build_all(method, members, block, statistics))


def build_all(
    method: TrainedMethod, members: Sequence[Member], block: Block, statistics: TokenStatistics
) -> list[Parts]:
    """Parts of every member before training; they share one copy of the frozen block."""
    block = dataclasses.replace(block, weights=device_weights(block))
    return [build(method, m.spec, block, statistics, m.seed) for m in members]


def build(method: TrainedMethod, spec: ProbeSpec, block: Block, statistics: TokenStatistics, seed: int) -> Parts:
    """Parts of one router before training."""
    return split_module(method.module(spec, block, statistics, rngs=nnx.Rngs(params=jax.random.key(seed))))


def stack(parts: Sequence[Parts]) -> Parts:
    """Stack the parts of several routers as one ensemble.

    LoRAs of a smaller rank are padded with zero rows of A and zero columns of B. The gradient of each is a product with
    the other, so they stay zero and need no mask.
    """
    first = parts[0]
    params = jax.tree.map(_stack, *[p.params for p in parts])
    settings = jax.tree.map(_stack, *[p.settings for p in parts])
    return Parts(first.graphdef, params, settings, first.rest)


def member(ensemble: Parts, index: int, like: Parts) -> Parts:
    """The parts of one member, sliced to the shapes of `like` (its own rank)."""

    def cut(x: Float[AnyArray, "members *largest"], own: Float[AnyArray, "*own"]) -> Float[AnyArray, "*own"]:
        return x[index][tuple(slice(n) for n in own.shape)]

    return like._replace(params=jax.tree.map(cut, ensemble.params, like.params))


def _stack(*leaves: Float[AnyArray, "..."]) -> Float[np.ndarray, "members ..."]:
    """Stack the leaves on a new leading axis, each zero-padded to the largest shape."""
    shape = [max(sizes) for sizes in zip(*[x.shape for x in leaves], strict=True)]
    stacked = np.zeros((len(leaves), *shape), leaves[0].dtype)
    for i, x in enumerate(leaves):
        own: Any = (i, *[slice(n) for n in x.shape])
        stacked[own] = x
    return stacked
