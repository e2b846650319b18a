"""Distribution-free tests against scipy, and their guarantee in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from relope_jax.metrics.routing.bounds import betting_p, binomial_p, ratio_p, units_needed


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 10), (7, 10), (10, 10), (781, 800), (0, 0)])
def test_binomial_p_is_the_tail(successes, trials):
    for rate in (0.0, 0.05, 0.5, 0.97, 1.0):
        assert binomial_p(successes, trials, rate) == pytest.approx(binom.sf(successes - 1, trials, rate), abs=1e-12)


def test_binomial_p_is_clopper_pearson_turned_round():
    low = beta.ppf(0.05, 781, 20)
    assert binomial_p(781, 800, low) == pytest.approx(0.05)


def betting_by_loop(values, mean, level):
    """Wealth of the gambler, value by value."""
    wealth = most = 1.0
    total, squares, bet_variance = 0.5, 0.25, 0.25
    for i, x in enumerate(np.random.default_rng(0).permutation(values)):
        bet = min(np.sqrt(2 * np.log(1 / level) / (bet_variance * len(values))), 0.75 / mean)
        wealth *= 1 + bet * (x - mean)
        most = max(most, wealth)
        total += x
        squares += (x - total / (i + 2)) ** 2
        bet_variance = squares / (i + 2)
    return 1 / most


def test_betting_equals_a_loop():
    for seed, (n, mean) in enumerate([(1, 0.5), (40, 0.3), (200, 0.55), (200, 0.9)]):
        values = np.random.default_rng(seed).beta(6, 4, n)
        assert betting_p(values, mean, 0.05) == pytest.approx(betting_by_loop(values, mean, 0.05))


def test_statements_that_cannot_be_true_or_false():
    values = np.array([0.0, 0.5])
    assert betting_p(values, -0.1, 0.05) == 0.0
    assert betting_p(values, 1.0, 0.05) == 1.0
    assert ratio_p(np.array([0.5]), np.ones(1, bool), -0.2, np.zeros(1, int), 3, 0.05) == 0.0


def grouped(rng, n_groups, largest, rate):
    """Groups of 1 to `largest` queries. A group is mostly right or mostly wrong, which depends on its size."""
    sizes = rng.integers(1, largest + 1, n_groups)
    units = np.repeat(np.arange(n_groups), sizes)
    tilt = rate + 0.2 * (sizes - (2 * largest + 1) / 3) / largest  # keeps the rate over queries
    easy = rng.uniform(size=n_groups) < tilt
    return np.where(rng.uniform(size=len(units)) < 0.9, easy[units], rng.uniform(size=len(units)) < tilt[units]), units


def test_groups_of_the_simulation_have_the_rate():
    right, units = grouped(np.random.default_rng(0), 200_000, 4, 0.7)
    assert right.mean() == pytest.approx(0.7, abs=0.005)
    inside = [len(set(right[units == unit])) == 1 for unit in range(300)]
    assert np.mean(inside) > 0.8  # questions in a group are dependent


@pytest.mark.parametrize("largest", [2, 4, 10])
def test_grouped_tests_rarely_err_and_are_not_vacuous(largest):
    """At most 5% err at the true rate; most succeed 10 points below it."""
    erred = found = 0
    for seed in range(400):
        right, units = grouped(np.random.default_rng(seed), 400, largest, 0.7)
        counted = np.ones(len(right), bool)
        erred += ratio_p(right.astype(float), counted, 0.7, units, largest, 0.05) <= 0.05
        found += ratio_p(right.astype(float), counted, 0.6, units, largest, 0.05) <= 0.05
    assert erred <= binom.ppf(0.999, 400, 0.05)
    assert found > 200


def test_ignoring_groups_would_break_the_promise():
    """The same groups treated as single queries: why groups are the units."""
    erred = 0
    for seed in range(400):
        right, _ = grouped(np.random.default_rng(seed), 400, 10, 0.7)
        erred += binomial_p(int(right.sum()), len(right), 0.7) <= 0.05
    assert erred > binom.ppf(0.999, 400, 0.05)


def test_only_counted_queries_matter():
    """Wins over counted queries with single-query units: a binomial over the counted ones."""
    wins, counted = np.array([1.0, 0, 1, 0, 0]), np.array([1, 1, 1, 0, 0], bool)
    assert ratio_p(wins, counted, 0.3, np.arange(5), 1, 0.05) == pytest.approx(binomial_p(2, 3, 0.3))


def test_units_needed():
    """90 of 100 were right: how many are needed for "above 0.85", by the definition of the binomial test."""
    right = np.repeat([1.0, 0.0], [90, 10])

    def p_of(drawn):
        return binomial_p(int(right[drawn].sum()), len(drawn), 0.85)

    needed = units_needed(p_of, right, 0.05)
    passing = [n for n in range(100, 1000) if binom.sf(np.floor(0.9 * n) - 1, n, 0.85) <= 0.05]
    assert 100 < passing[0] <= needed <= passing[0] + 20  # success is not monotone in n
    assert units_needed(lambda drawn: 1.0, right, 0.05) is None
