"""Counts of opponents against a comparison of all pairs in numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relope_jax.metrics.ranking import count, count_ranked

N = 12
NEIGHBOURS = [2.0**-511, 2.0**513, 1.0]  # sizes at which the other sort takes over, and an ordinary one
SPECIAL = [
    0.0,
    5e-324,
    1e-310,
    1e-200,
    1e300,
    *NEIGHBOURS,
    *np.nextafter(NEIGHBOURS, np.inf),
    *np.nextafter(NEIGHBOURS, 0),
]
USUAL = [0.0, 2.0**-510, 2.0**512, 0.5, 1.0, np.nextafter(1.0, 2.0)]


def by_pairs(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    other = labels[:, None] != labels[None]
    below = (scores[:, :, None] > scores[:, None]) & other
    upto = (scores[:, :, None] >= scores[:, None]) & other
    return below.sum(axis=2), upto.sum(axis=2)


def require_counts(scores: np.ndarray, labels: np.ndarray) -> None:
    below, upto = by_pairs(scores, labels)
    with jax.enable_x64(True):
        order, stored = jax.jit(count)(jnp.asarray(scores), jnp.asarray(labels))
        ranked_labels, ranked = jax.jit(count_ranked)(jnp.asarray(scores), jnp.asarray(labels))
    np.testing.assert_array_equal(stored.below, below)
    np.testing.assert_array_equal(stored.upto, upto)
    np.testing.assert_array_equal(ranked_labels, labels[order])
    np.testing.assert_array_equal(ranked.below, np.take_along_axis(below, np.asarray(order), axis=1))
    np.testing.assert_array_equal(ranked.upto, np.take_along_axis(upto, np.asarray(order), axis=1))


labels_of_any_class = arrays(np.int64, N, elements=st.integers(0, 1))


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (2, N), elements=st.floats(allow_nan=False, allow_infinity=False)), labels_of_any_class)
@example(np.zeros((2, N)), np.arange(N) % 2)
def test_any_float64(scores, labels):
    require_counts(scores, labels)


@pytest.mark.parametrize("sizes", [USUAL, SPECIAL])
def test_ties_are_equal_float64_and_no_others(sizes):
    """-0.0 == 0.0; adjacent and subnormal numbers differ."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.choice(sizes, (2, N)) * rng.choice([-1.0, 1.0], (2, N))
        require_counts(scores, rng.integers(0, 2, N))
