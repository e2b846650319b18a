"""Widths and batches: little padding, every sample once, the same shapes in every epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.training.feeds.buckets import MOST, choose_widths, shuffled_batches, sorted_batches


def lengths_of(kind: str, n: int = 700) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "equal": np.full(n, 29),
        "narrow": rng.integers(23, 30, n),
        "wide": rng.integers(20, 2000, n),
        "skewed": 30 + rng.geometric(1 / 150, n),
        "two kinds": np.where(rng.random(n) < 0.5, rng.integers(40, 60, n), rng.integers(700, 800, n)),
    }[kind]


@pytest.mark.parametrize("batch_size", [16, 64])
@pytest.mark.parametrize("kind", ["equal", "narrow", "wide", "skewed", "two kinds"])
def test_padding_stays_below_its_limit(kind, batch_size):
    """At most 15% of an epoch's computation, for length distributions of every shape."""
    lengths = lengths_of(kind, 4000)
    batches = shuffled_batches(np.arange(4000), lengths, batch_size, (0, 1))
    assert len(batches.widths) <= MOST
    assert batches.waste(lengths) < 0.15


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n_widths=st.integers(1, 3))
def test_widths_pad_least(seed, n_widths):
    """Compared with every choice of the same number of widths."""
    tops = np.random.default_rng(seed).integers(1, 9, 12)
    widths = choose_widths(tops, 0.0, most=n_widths)

    def padded(widths):
        return sum(min(w for w in widths if w >= n) for n in tops)

    options = [c for k in range(1, n_widths + 1) for c in itertools.combinations(np.unique(tops), k)]
    assert padded(widths) == min(padded(c) for c in options if max(c) == tops.max())


def test_few_widths_suffice_for_similar_lengths():
    assert choose_widths(np.array([100, 101, 102, 103]), 400.0) == (104,)
    assert choose_widths(np.array([20, 21, 22]), 60.0) == (22,)


@pytest.mark.parametrize("multiple", [1, 4, 3])
def test_every_sample_counts_once_an_epoch(multiple):
    """In every epoch each sample has weight 1 once, fits its batch's width, and the shapes do not change."""
    lengths, rows = lengths_of("wide"), np.arange(100, 607)
    seen = []
    for epoch in (1, 2):
        batches = shuffled_batches(rows, lengths, 16, (7, epoch), multiple)
        assert batches.rows.shape[1] % multiple == 0
        assert sorted(batches.rows[batches.weights == 1.0]) == rows.tolist()
        assert np.all(lengths[batches.rows] <= np.asarray(batches.widths)[batches.bucket][:, None])
        seen.append((batches.rows.shape, batches.widths, sorted(batches.bucket), batches.rows[0].tolist()))
    assert seen[0][:3] == seen[1][:3]
    assert seen[0][3] != seen[1][3]
    again = shuffled_batches(rows, lengths, 16, (7, 2), multiple)
    np.testing.assert_array_equal(again.rows, batches.rows)


def test_batches_are_not_in_order_of_length():
    """Short prompts first and long ones last, or only equal lengths together, would change the training."""
    lengths = lengths_of("two kinds")
    batches = shuffled_batches(np.arange(700), lengths, 16, (0, 1))
    assert np.count_nonzero(np.diff(batches.bucket)) > 5
    spread = np.array([np.ptp(lengths[rows]) for rows in batches.rows])
    assert np.median(spread) > 10


def test_fewer_samples_than_a_batch():
    batches = shuffled_batches(np.arange(5), lengths_of("narrow"), 64, (0, 1))
    assert batches.rows.shape == (1, 5)


@pytest.mark.parametrize("n", [321, 320, 7])
def test_sorted_batches_give_every_row_its_place(n):
    lengths = lengths_of("skewed")
    rows = np.random.default_rng(0).permutation(700)[:n]
    batches, place = sorted_batches(rows, lengths, 32)
    np.testing.assert_array_equal(batches.rows.reshape(-1)[place], rows)
    assert np.all(lengths[batches.rows] <= np.asarray(batches.widths)[batches.bucket][:, None])
