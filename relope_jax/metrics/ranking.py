"""One exact sort of the scores, and the counts for AUC, DeLong's covariance and the bootstrap.

Scores are compared as integers with the same order and ties as the float64 scores: -0.0 ties with 0.0, and subnormal
scores stay distinct (XLA compares them as 0). On CPU, XLA also sorts one integer array four times faster than floats or
pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

LARGEST = np.iinfo(np.int64).max
SMALL = 512 << 52  # float64 bits of 2^-511
LARGE = 1536 << 52  # and of 2^513


class Opponents(NamedTuple):
    """For every sample, the number of samples of the other class with a lower score, and with a lower or equal
    score."""

    below: Int[Array, "m n"]
    upto: Int[Array, "m n"]


def count_ranked(scores: Float[Array, "m n"], labels: Int[Array, "n"]) -> tuple[Int[Array, "m n"], Opponents]:
    """Labels and opponents of the samples, in ascending order of score (float64; labels int64)."""
    image = sort_keys(scores)
    labels = jnp.broadcast_to(labels[None], scores.shape)
    size = jnp.abs(image)

    def sort_one_array() -> tuple[Int[Array, "m n"], Int[Array, "m n"]]:
        keys = jax.lax.sort(2 * jnp.sign(image) * jnp.maximum(size - SMALL, 0) + labels, is_stable=False)
        return keys >> 1, keys & 1

    def sort_pairs() -> tuple[Int[Array, "m n"], Int[Array, "m n"]]:
        ranked, ranked_labels = jax.lax.sort((image, labels), num_keys=2, is_stable=False)
        return ranked, ranked_labels

    # 63 bits hold the usual magnitudes and 0, which leaves one bit for the label.
    usual = jnp.all((image == 0) | ((size > SMALL) & (size < LARGE)))
    ranked, ranked_labels = jax.lax.cond(usual, sort_one_array, sort_pairs)
    return ranked_labels, _opponents(ranked, ranked_labels)


def count(scores: Float[Array, "m n"], labels: Int[Array, "n"]) -> tuple[Int[Array, "m n"], Opponents]:
    """The index of the k-th sample in ascending order, negatives first among ties; and the opponents of sample i."""
    both = jnp.broadcast_to(labels[None], scores.shape)
    index = jnp.broadcast_to(jnp.arange(labels.shape[0])[None], scores.shape)
    ranked, ranked_labels, order = jax.lax.sort((sort_keys(scores), both, index), num_keys=2, is_stable=False)
    below, upto = _opponents(ranked, ranked_labels)
    return order, Opponents(_unsorted(below, order), _unsorted(upto, order))


def sort_keys(scores: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Integers with the same order and ties as the float64 scores: the bits of the magnitude, with the sign."""
    bits = jax.lax.bitcast_convert_type(scores, jnp.int64)
    return jnp.where(bits < 0, -(bits & LARGEST), bits)


def _opponents(ranked: Int[Array, "m n"], labels: Int[Array, "m n"]) -> Opponents:
    """Counts for ascending scores with negatives first among ties."""
    m, n = ranked.shape
    edge, step = jnp.ones((m, 1), bool), ranked[:, 1:] != ranked[:, :-1]
    starts, ends = jnp.concatenate([edge, step], axis=1), jnp.concatenate([step, edge], axis=1)
    positives = jax.lax.cumsum(labels, axis=1)
    negatives = jnp.arange(1, n + 1)[None] - positives
    # Among ties, the negatives come before a positive and the positives after a negative.
    before_ties = jax.lax.cummax(jnp.where(starts, negatives - (1 - labels), 0), axis=1)
    with_ties = jax.lax.cummin(jnp.where(ends, positives, n), axis=1, reverse=True)
    return Opponents(
        jnp.where(labels == 1, before_ties, positives),
        jnp.where(labels == 1, negatives, with_ties),
    )


def _unsorted(values: Int[Array, "m n"], order: Int[Array, "m n"]) -> Int[Array, "m n"]:
    return jnp.put_along_axis(jnp.zeros_like(values), order, values, axis=1, inplace=False)
