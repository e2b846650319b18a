"""Scores of an ensemble: P(Y = 1) of every member for every sample, in compiled batches."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Array, Float, Int

from relope_jax.block.batch import DeviceStates, gather
from relope_jax.models.probes import Parts, RouterOutput
from relope_jax.precision import jit
from relope_jax.training.feeds.feed import Feed


def scores(parts: Parts, feed: Feed, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
    """P(Y = 1) of the samples `rows` for an ensemble's `parts`. Use `log_odds` to rank samples."""
    return probability(log_odds(parts, feed, rows))


def log_odds(parts: Parts, feed: Feed, rows: Int[np.ndarray, "samples"]) -> Float[np.ndarray, "members samples"]:
    """Log-odds of Y = 1. They rank samples without ties; probabilities are all 1 above log-odds of 36.7."""
    return feed.logits(parts, rows).astype(np.float64)


def probability(logits: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Log-odds as float64 probabilities; float32 would tie all scores near 1."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the probability 0
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


@functools.partial(jit, static_argnames="n")
def single_output(parts: Parts, states: DeviceStates, rows: Int[Array, "batch"], n: int) -> RouterOutput:
    """The full output (attention, posterior) of one router on one batch of samples padded to n tokens."""
    return parts.module()(gather(states, rows, n))
