"""Thresholds with a guarantee: it holds in simulations with known truth, and it is not vacuous."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from relope_jax.metrics.routing.cost import QueryCosts
from relope_jax.metrics.routing.thresholds import (
    GoalTest,
    Queries,
    choose,
    choose_from,
    deferring_less,
    deferring_more,
    kept_accuracy,
    kept_share,
    saving,
    system_accuracy,
)

DRAWS = 300
ALLOWED = binom.ppf(0.999, DRAWS, 0.05)  # 5%, plus chance


def population(rng, n, levels=0, largest=1):
    """Queries whose small model is right with a probability given by the score; the large one is right on 85% of all.

    `levels`: scores are rounded to this many values. `largest`: groups up to this size mostly share score and outcome.
    """
    sizes = rng.integers(1, largest + 1, n)
    groups = np.repeat(np.arange(n), sizes)[:n]
    own, shared = rng.uniform(size=(2, n, 3))
    u = np.where(rng.uniform(size=(n, 1)) < 0.8, shared[groups], own)
    scores = np.round(u[:, 0] * levels) / levels if levels else u[:, 0]
    small = u[:, 1] < 0.3 + 0.65 * u[:, 0]
    large = u[:, 2] < 0.85
    costs = QueryCosts(keep=0.1 + 0.1 * u[:, 0], defer=1.0 + 0.5 * u[:, 1])
    return Queries(scores, small.astype(int), groups, large.astype(int), costs)


GOALS = {
    "accuracy": (system_accuracy(0.8), lambda test: choose(test, deferring_less(test.queries.scores))),
    "accuracy, near-impossible": (
        system_accuracy(0.845),
        lambda test: choose(test, deferring_less(test.queries.scores)),
    ),
    "kept": (kept_accuracy(0.75), lambda test: choose_from(test, (0.5, 0.75, 0.9))),
    "kept, near-impossible": (kept_accuracy(0.93), lambda test: choose_from(test, (0.5, 0.75, 0.9))),
    "deferral": (kept_share(0.7), lambda test: choose(test, deferring_more(test.queries.scores))),
    "budget": (saving(0.5, dearest=1.5), lambda test: choose(test, deferring_more(test.queries.scores))),
}
KINDS = {"plain": {}, "tied": {"levels": 8}, "grouped": {"largest": 3}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GOALS)
def test_the_promise_is_kept(name, kind):
    """On a population of 400,000, in at least 95% of validation splits."""
    goal, choice = GOALS[name]
    truth = population(np.random.default_rng(999), 400_000, **KINDS[kind])
    failed = 0
    for seed in range(DRAWS):
        queries = population(np.random.default_rng(seed), 200, **KINDS[kind])
        threshold = choice(GoalTest(goal, queries, KINDS[kind].get("largest", 1), 0.05))
        if threshold is not None:
            reached = goal.estimate(truth, threshold)
            failed += reached <= goal.ratio - 1e-3 and not np.isnan(reached)  # the population is itself a sample
    assert failed <= ALLOWED


@pytest.mark.parametrize(
    ("name", "kind", "at_least"),
    [
        ("accuracy", "plain", 0.3),
        ("accuracy", "tied", 0.3),
        ("accuracy", "grouped", 0.1),
        ("kept", "plain", 0.4),
        ("kept", "grouped", 0.2),
        ("deferral", "plain", 0.24),
        ("deferral", "grouped", 0.2),
        ("budget", "plain", 0.2),
    ],
)
def test_the_promise_is_worth_something(name, kind, at_least):
    """With 2000 labels: queries are kept where accuracy is guaranteed, deferred where a limit is. The true optimum is
    0.6 for accuracy, 0.8 for kept answers, 0.3 for the deferral and 0.32 for the budget."""
    goal, choice = GOALS[name]
    queries = population(np.random.default_rng(0), 2000, **KINDS[kind])
    threshold = choice(GoalTest(goal, queries, KINDS[kind].get("largest", 1), 0.05))
    deferred = np.mean(queries.scores < threshold)
    assert (deferred if name in ("deferral", "budget") else 1 - deferred) >= at_least


def test_deferral_of_single_queries_is_the_order_statistic():
    """The largest j with P(Binomial(n, share) <= j) <= 5% queries may be deferred."""
    queries = population(np.random.default_rng(3), 300)
    threshold = choose(GoalTest(kept_share(0.7), queries, 1, 0.05), deferring_more(queries.scores))
    expected = max(j for j in range(301) if binom.cdf(j, 300, 0.3) <= 0.05)
    assert (queries.scores < threshold).sum() == expected


def test_thresholds_run_from_safe_to_risky():
    scores = np.array([0.5, 0.2, 0.5, 0.9])
    assert list(deferring_less(scores)) == [np.inf, 0.9, 0.5, 0.2]
    assert list(deferring_less(scores, start=0.6)) == [0.6, 0.5, 0.2]
    assert [int((scores < t).sum()) for t in deferring_more(scores)] == [0, 1, 3, 4]


def test_the_first_failure_ends_the_sequence():
    """A later threshold that would pass on its own is not reached, because the level does not cover its error."""
    passing = {5.0: True, 4.0: True, 3.0: False, 2.0: True}

    class Fixed(GoalTest):
        def passes(self, threshold):
            return passing[threshold]

    queries = population(np.random.default_rng(0), 5)
    test = Fixed(system_accuracy(0.5), queries, 1, 0.05)
    assert choose(test, iter(passing)) == 4.0
    passing[5.0] = False
    assert choose(test, iter(passing)) is None


@pytest.mark.parametrize("largest", [1, 3])
def test_needed_labels_are_about_enough(largest):
    """About half of the samples of the stated size pass, and few of those a quarter as large."""
    queries = population(np.random.default_rng(1), 400, largest=largest)
    goal = system_accuracy(queries.large.mean() - 0.02)
    test = GoalTest(goal, queries, largest, 0.05)
    assert not test.passes(np.inf)
    needed = test.needed(np.inf)
    assert needed > 400
    assert 0.3 <= passing(test, needed) <= 0.85
    assert passing(test, needed // 4) <= 0.35
    hopeless = GoalTest(system_accuracy(queries.large.mean() + 0.01), queries, largest, 0.05)
    assert hopeless.needed(np.inf) is None


def passing(test, n):
    """The share of samples of about n queries (whole groups drawn from the test's) that pass at "defer everything"."""
    rng, names = np.random.default_rng(0), np.unique(test.queries.groups)
    rows = [np.flatnonzero(test.queries.groups == name) for name in names]
    passed = []
    for _ in range(100):
        drawn = [rows[i] for i in rng.integers(0, len(names), round(n * len(names) / len(test.queries)))]
        groups, chosen = np.repeat(np.arange(len(drawn)), [len(row) for row in drawn]), np.concatenate(drawn)
        queries = test.queries
        again = Queries(queries.scores[chosen], queries.small[chosen], groups, queries.large[chosen])
        passed.append(GoalTest(test.goal, again, test.largest, test.level).passes(np.inf))
    return np.mean(passed)
