"""Intervals and p-values against scipy and against exact probabilities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from relope_jax.metrics.intervals import FEW, Units, auc_interval, count_units, few_warning, two_sided_p


def units(positive: int, negative: int) -> Units:
    return Units(positive, negative, positive + negative, positive + negative)


@pytest.mark.parametrize(("positive", "negative"), [(12, 31), (31, 12), (300, 500), (2, 9)])
@pytest.mark.parametrize("auc", [0.03, 0.5, 0.8, 0.999])
def test_the_interval_is_symmetric_on_the_logit_scale(auc, positive, negative):
    error = 0.3 * auc * (1 - auc)
    low, high = auc_interval(np.array([auc]), np.array([error**2]), units(positive, negative))
    half = stats.t(min(positive, negative) - 1).ppf(0.975) * 0.3
    assert (low[0], high[0]) == pytest.approx((expit(logit(auc) - half), expit(logit(auc) + half)), rel=1e-9)
    assert 0 < low[0] < auc < high[0] < 1


@pytest.mark.parametrize("rarer", [2, 5, 100])
def test_a_perfect_auc_has_the_limit_of_clopper_and_pearson(rarer):
    """For this number of independent pairs, all ordered correctly."""
    low, high = auc_interval(np.array([1.0, 0.0]), np.zeros(2), units(rarer, 2 * rarer))
    exact = stats.binomtest(rarer, rarer).proportion_ci(method="exact").low
    np.testing.assert_allclose([low, high], [[exact, 0], [1, 1 - exact]], atol=1e-12)


def test_a_mean_of_perfect_aucs_is_perfect_in_spite_of_rounding():
    ones = np.full(3, 1 / 3) @ np.ones(3) - 1e-16
    low, high = auc_interval(np.array(ones), np.array(0.0), units(20, 20))
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)


def test_tied_scores_have_no_width():
    low, high = auc_interval(np.array([0.5]), np.array([0.0]), units(9, 9))
    assert (low[0], high[0]) == pytest.approx((0.5, 0.5))


def test_what_is_undefined_is_nan():
    assert np.isnan(auc_interval(np.array([0.7, np.nan]), np.array([np.nan, np.nan]), units(1, 9))).all()
    assert np.isnan(auc_interval(np.array([np.nan]), np.array([np.nan]), units(0, 9))).all()


def pairs_by_search(kinds: list[str]) -> int:
    """The largest number of disjoint pairs of groups, one with a positive and one with a negative, by brute force."""
    best = 0
    for first, second in itertools.combinations(range(len(kinds)), 2):
        if {"+-", "-+", "+b", "b+", "-b", "b-", "bb"} & {kinds[first] + kinds[second]}:
            rest = [kind for i, kind in enumerate(kinds) if i not in (first, second)]
            best = max(best, 1 + pairs_by_search(rest))
    return best


@pytest.mark.parametrize("kinds", ["++-", "+--b", "bbb", "b+", "bb--", "+++", "b", "bbb++-"])
def test_disjoint_pairs_of_groups(kinds):
    positive, negative = (sum(kind in (sign, "b") for kind in kinds) for sign in "+-")
    assert Units(positive, negative, len(kinds), 99).pairs == pairs_by_search(list(kinds))


def test_units_are_groups_with_each_class():
    labels, groups = np.array([1, 1, 0, 1, 0, 0]), np.array(["a", "a", "a", "b", "c", "c"])
    assert count_units(labels, groups) == (2, 2, 3, 6)
    assert count_units(labels) == (3, 3, 6, 6)


@pytest.mark.parametrize(
    ("value", "error", "p"),
    [
        (0.196, 0.1, 2 * stats.norm.sf(1.96)),
        (-0.196, 0.1, 2 * stats.norm.sf(1.96)),
        (0.0, 0.1, 1.0),
        (0.0, 0.0, 1.0),
        (1e-16, 0.0, 1.0),  # a difference only through rounding
        (1e-16, 1e-18, 1.0),
        (0.1, 0.0, 0.0),
        (-0.1, 0.0, 0.0),
    ],
)
def test_p_values(value, error, p):
    assert two_sided_p(value, error) == pytest.approx(p, rel=1e-9)


def test_an_unknown_error_has_no_p_value():
    assert np.isnan(two_sided_p(0.1, np.nan))


@pytest.mark.parametrize(
    ("counted", "text"),
    [
        (units(100, 19), "Only 19 test answers are wrong, fewer than 20: "),
        (units(2, 100), "Only 2 test answers are right, fewer than 20: "),
        (units(1, 100), "Only 1 test answer is right, fewer than 20: "),
        (Units(90, 12, 95, 300), "Only 12 groups (images) of test questions have a wrong answer, fewer than 20: "),
        (Units(1, 12, 12, 300), "Only 1 group (images) of test questions has a right answer, fewer than 20: "),
    ],
)
def test_few_answers_of_the_rarer_class_are_said_in_one_line(counted, text):
    line = few_warning(counted)
    assert line.startswith(text)
    assert "\n" not in line


def test_enough_answers_are_no_warning():
    assert few_warning(units(FEW, 5000)) is None
