"""The data as one method sees it."""

from __future__ import annotations

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData, with_vectors
from relope_jax.methods import TrainedMethod
from relope_jax.training.feeds.feed import Feed
from relope_jax.training.feeds.resident import last_token_feed


def seen_by(method: TrainedMethod, data: RouterData, feed: Feed, inputs: Inputs) -> tuple[RouterData, Feed]:
    """`data` and its feed; with output embeddings instead of the states for a method that reads those."""
    if not method.reads_output:
        return data, feed
    seen = with_vectors(data, inputs.output_embedding)
    return seen, last_token_feed(inputs.output_embedding, data.block, feed.mesh)
