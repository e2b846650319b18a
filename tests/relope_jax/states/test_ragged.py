"""Ragged states: selection against a plain loop, joining, statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relope_jax.errors import ReLopeError
from relope_jax.states import statistics
from relope_jax.states.ragged import concatenate
from tests.builders import make_states


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
def test_select_is_a_loop_over_samples(lengths, data):
    states = make_states(np.random.default_rng(0), lengths, d=3)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    chosen = states.select(np.array(rows))
    for i, row in enumerate(rows):
        theirs = states.hidden[states.offsets[row] : states.offsets[row + 1]]
        np.testing.assert_array_equal(chosen.hidden[chosen.offsets[i] : chosen.offsets[i + 1]], theirs)
    np.testing.assert_array_equal(chosen.last_hidden, states.last_hidden[rows])


def test_concatenate_joins_in_order():
    rng = np.random.default_rng(0)
    first, second = make_states(rng, [2, 3]), make_states(rng, [1])
    joined = concatenate([first, second])
    assert joined.lengths.tolist() == [2, 3, 1]
    np.testing.assert_array_equal(joined.select(np.array([2])).hidden, second.hidden)


def test_require_finite_counts_samples():
    states = make_states(np.random.default_rng(0), [2, 3, 1])
    states.require_finite(["a", "b", "c"])
    states.hidden[3, 0] = np.nan
    states.last_hidden[2, 0] = np.inf
    with pytest.raises(ReLopeError, match=r"sample b \(2 samples in total\)"):
        states.require_finite(["a", "b", "c"])


def test_moments_of_massive_activations(monkeypatch):
    """A dimension at 10^4 with a spread of 1, over several blocks of rows, against numpy in one piece."""
    monkeypatch.setattr(statistics, "SMALLEST", 64)
    x = np.random.default_rng(0).normal(size=(1050, 4))
    x[:, 1] += 1e4
    sums = statistics.MomentSums()
    for block in np.split(x, [100, 1000]):
        sums.add(block)
    mean, std = sums.moments()
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(std, x.std(axis=0), rtol=1e-6)
