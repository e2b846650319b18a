"""Widths and batches: little padding, every sample once, the same shapes in every epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.training.buckets import MOST, Buckets, choose_widths, shuffled_batches, sorted_batches


def lengths_of(kind: str, n: int = 700) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "equal": np.full(n, 29),
        "narrow": rng.integers(23, 30, n),
        "wide": rng.integers(20, 2000, n),
        "skewed": 30 + rng.geometric(1 / 150, n),
        "two kinds": np.where(rng.random(n) < 0.5, rng.integers(40, 60, n), rng.integers(700, 800, n)),
    }[kind]


@pytest.mark.parametrize("kind", ["equal", "narrow", "wide", "skewed", "two kinds"])
def test_padding_stays_below_its_limit(kind):
    """15 % of what an epoch computes at most, on lengths of every shape."""
    buckets = Buckets.fit(lengths_of(kind, 4000))
    assert len(buckets.widths) <= MOST
    assert np.all(np.asarray(buckets.widths)[buckets.index] >= buckets.lengths)
    batches = shuffled_batches(np.arange(4000), buckets, 16, (0, 1))
    assert batches.waste(buckets) < 0.15


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n_widths=st.integers(1, 3))
def test_widths_pad_least(seed, n_widths):
    """Against every choice of as many widths."""
    lengths = np.random.default_rng(seed).integers(1, 9, 12)
    widths = choose_widths(lengths, most=n_widths, waste=0.0)

    def padded(widths):
        return sum(min(w for w in widths if w >= n) for n in lengths)

    options = [c for k in range(1, n_widths + 1) for c in itertools.combinations(np.unique(lengths), k)]
    best = min(padded(c) for c in options if max(c) == lengths.max())
    assert padded(widths) == best


def test_few_widths_suffice_for_similar_lengths():
    assert len(choose_widths(np.array([100, 101, 102, 103]))) == 1


@pytest.mark.parametrize("multiple", [1, 4, 3])
def test_every_sample_counts_once_an_epoch(multiple):
    """In every epoch each sample has weight 1 once, fits its batch's width, and shapes are as before."""
    buckets = Buckets.fit(lengths_of("wide"))
    rows = np.arange(100, 600)
    seen = []
    for epoch in (1, 2):
        batches = shuffled_batches(rows, buckets, 16, (7, epoch), multiple)
        assert batches.rows.shape[1] % multiple == 0
        assert sorted(batches.rows[batches.weights == 1.0]) == rows.tolist()
        widths = np.asarray(buckets.widths)[batches.bucket]
        assert np.all(buckets.lengths[batches.rows] <= widths[:, None])
        seen.append((batches.rows.shape, sorted(batches.bucket), batches.rows[0].tolist()))
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][2] != seen[1][2]
    again = shuffled_batches(rows, buckets, 16, (7, 2), multiple)
    np.testing.assert_array_equal(again.rows, batches.rows)


def test_batches_are_not_in_order_of_length():
    """Short prompts first, long ones last would be another training."""
    buckets = Buckets.fit(lengths_of("two kinds"))
    order = shuffled_batches(np.arange(700), buckets, 16, (0, 1)).bucket
    assert np.count_nonzero(np.diff(order)) > 5


def test_fewer_samples_than_a_batch():
    buckets = Buckets.fit(lengths_of("narrow"))
    batches = shuffled_batches(np.arange(5), buckets, 64, (0, 1))
    assert batches.weights.sum() == 5


def test_sorted_batches_give_every_row_its_place():
    buckets = Buckets.fit(lengths_of("skewed"))
    rows = np.random.default_rng(0).permutation(700)[:321]
    batches, place = sorted_batches(rows, buckets, 32)
    np.testing.assert_array_equal(batches.rows.reshape(-1)[place], rows)
    assert np.all(buckets.lengths[batches.rows] <= np.asarray(buckets.widths)[batches.bucket][:, None])
