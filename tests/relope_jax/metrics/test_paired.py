"""Paired differences; Holm's adjustment against a published example, its definition and its promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.metrics.paired import PairedDifference, adjusted, holm, normal_difference


def test_example_of_r():
    """p.adjust(p, "holm") on the four p-values of the worked example in Wikipedia's article on Holm's procedure: at
    0.05, H1 and H4 are rejected and H3 stops the descent."""
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])


def rejected_by_definition(p, level):
    """Step down from the smallest; stop at the first p above level / (number of tests left)."""
    rejected, left = set(), sorted(range(len(p)), key=lambda i: p[i])
    while left and p[left[0]] <= level / len(left):
        rejected.add(left.pop(0))
    return rejected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 39))
def test_rejects_what_stepping_down_rejects(values, level):
    p, level = [value / 40 for value in values], (level + 0.5) / 40  # on the edge only through rounding
    adjusted = holm(np.array(p))
    assert {i for i, value in enumerate(adjusted) if value <= level + 1e-12} == rejected_by_definition(p, level + 1e-12)


def test_false_calls_are_rare():
    """10 true nulls at a time, 1000 times."""
    p = np.random.default_rng(0).uniform(size=(1000, 10))
    families = sum((holm(row) < 0.05).any() for row in p)
    assert 20 <= families <= 77  # mean 49; P(Binomial(1000, 0.05) > 77) < 1e-4


def test_bad_p_values_are_refused():
    for bad in (np.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="p-values"):
            holm(np.array([0.5, bad]))
    assert holm(np.zeros(0)).shape == (0,)


def test_a_flipped_difference_is_of_the_other_method():
    found = PairedDifference("a", "b", 0.2, 0.1, 0.4, 0.01, 0.03)
    assert found.flipped() == PairedDifference("b", "a", -0.2, -0.4, -0.1, 0.01, 0.03)
    assert found.flipped().flipped() == found
    assert found.is_better
    assert found.flipped().is_significant
    assert not found.flipped().is_better


def test_differences_are_adjusted_for_each_other():
    alone = [normal_difference("a", name, value, 0.1) for name, value in (("b", 0.22), ("c", 0.1), ("d", 0.9))]
    together = adjusted(alone)
    assert [found.p for found in together] == [found.p for found in alone] == [found.p_holm for found in alone]
    np.testing.assert_array_equal([found.p_holm for found in together], holm(np.array([found.p for found in alone])))
    assert [found.is_significant for found in alone] == [True, False, True]
    assert [found.is_significant for found in together] == [False, False, True] == [f.is_better for f in together]
    assert adjusted([]) == []
