"""Sources of training batches: states resident on the device, or streamed from the store."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData, with_vectors
from relope_jax.machine.engine import EngineSpec
from relope_jax.machine.mesh import make_mesh
from relope_jax.methods import TrainedMethod
from relope_jax.models.probes import Parts
from relope_jax.states.ragged import TokenStates
from relope_jax.states.view import StoreStates
from relope_jax.training.feeds.resident import last_token_feed, resident_feed
from relope_jax.training.feeds.streamed import StreamedFeed
from relope_jax.training.step import Epoch, EpochPlan, TrainState


@runtime_checkable
class Feed(Protocol):
    """Runs epochs and scores; both kinds of feed give the same results up to rounding.

    Attributes:
      lengths: number of tokens that the method reads per sample.
      description: one line about the location and size of the states.
    """

    @property
    def mesh(self) -> Mesh: ...

    @property
    def lengths(self) -> Int[np.ndarray, "samples"]: ...

    @property
    def description(self) -> str: ...

    def of(self, method: TrainedMethod) -> Feed:
        """The feed for one method, which may need fewer (no tokens) or more (a key cache) arrays."""
        ...

    def epoch(self, state: TrainState, plan: EpochPlan) -> Epoch:
        """One epoch of AdamW of all members on the same batches; `state` is donated."""
        ...

    def logits(self, parts: Parts, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
        """Log-odds of Y = 1 for the samples `rows`, of every member."""
        ...


def open_feed(data: RouterData, engine: EngineSpec | None = None) -> Feed:
    """The feed of `data`: resident if its states are in memory, else streamed.

    Raises:
      ReLopeError: `engine.devices` exceeds the number of devices.
    """
    engine = engine or EngineSpec()
    mesh = make_mesh(engine.devices)
    if isinstance(data.states, TokenStates):
        return resident_feed(data.states, data.block, mesh, key_cache=engine.key_cache)
    assert isinstance(data.states, StoreStates)
    return StreamedFeed(data.states, data.block, mesh)


def seen_by(method: TrainedMethod, data: RouterData, feed: Feed, inputs: Inputs) -> tuple[RouterData, Feed]:
    """`data` and its feed, with output embeddings instead of states for a method that reads them."""
    if not method.reads_output:
        return data, feed
    seen = with_vectors(data, inputs.output_embedding)
    return seen, last_token_feed(inputs.output_embedding, data.block, feed.mesh)
