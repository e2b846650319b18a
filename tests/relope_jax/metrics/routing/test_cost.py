"""The cost of routing, and the numbers read from curves of accuracy over cost."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relope_jax.errors import ReLopeError
from relope_jax.metrics.routing.cost import (
    READS,
    CostSpec,
    Reading,
    Tokens,
    cost_curve,
    model_costs,
    query_costs,
)
from relope_jax.metrics.routing.frontier import aiq, envelope, qnc
from relope_jax.metrics.routing.pgr import deferral_curve
from tests import contracts
from tests.relope_jax.metrics.outcomes import mmlu_outcomes, needs_outcomes

PRICES = CostSpec(small_in=1.0, small_out=10.0, large_in=100.0, large_out=1000.0)
ONE = Tokens(*(np.array([count]) for count in (2, 3, 4, 5, 6, 7, 8, 1)))
SMALL, LARGE = 2 * 1 + 3 * 10, 4 * 100 + 5 * 1000


@pytest.mark.parametrize(
    ("reading", "keep", "wasted"),
    [
        (Reading("query"), SMALL, 0),
        (Reading("prefill"), SMALL, 2),
        (Reading("prefill", depth=0.5), SMALL, 1),
        (Reading("answer"), SMALL, SMALL),
        (Reading("samples"), SMALL + 6 + 70, SMALL + 6 + 70),
        (Reading("samples", sampled_prompts=5), SMALL + 30 + 70, SMALL + 30 + 70),
        (Reading("verbalised"), SMALL + 8 + 10, SMALL + 8 + 10),
    ],
)
def test_what_a_query_costs(reading, keep, wasted):
    costs = query_costs(PRICES, ONE, reading)
    assert costs.keep[0] == pytest.approx(keep / 1e6)
    assert costs.defer[0] == pytest.approx((LARGE + wasted) / 1e6)
    assert [value[0] for value in model_costs(PRICES, ONE)] == pytest.approx([SMALL / 1e6, LARGE / 1e6])


def test_reading_more_never_costs_less():
    rng = np.random.default_rng(0)
    tokens = Tokens(*(rng.integers(0, 500, 50) for _ in range(8)))
    ladder = [Reading("query"), Reading("prefill", 0.5), *map(Reading, ("prefill", "answer", "samples"))]
    costs = [query_costs(PRICES, tokens, reading) for reading in ladder]
    for less, more in itertools.pairwise(costs):
        assert (less.keep <= more.keep).all()
        assert (less.defer <= more.defer).all()


def test_bad_settings_are_refused():
    with pytest.raises(ReLopeError, match="did you mean 'prefill'"):
        Reading("prefil")
    with pytest.raises(ReLopeError, match="depth"):
        Reading("prefill", depth=0.0)


@pytest.mark.parametrize("bad", [-1, -1e-12, np.nan, np.inf, -np.inf, None, "1.0", True, [1.0]])
@pytest.mark.parametrize("field", ["small_in", "small_out", "large_in", "large_out"])
def test_prices_are_numbers_from_0_on(field, bad):
    with contracts.ignored(), pytest.raises(ReLopeError, match=rf"costs\.{field} is ") as error:
        CostSpec(**{field: bad})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("price", [0, 0.0, 3, np.float64(0.5), np.float32(2)])
def test_free_and_whole_prices_are_prices(price):
    with contracts.ignored():  # np.float32 is not a float
        assert CostSpec(large_in=price).large_in == price


@pytest.mark.parametrize(("kind", "count"), [(kind, count) for kind, counts in READS.items() for count in counts])
def test_what_was_not_counted_has_no_price(kind, count):
    tokens = dataclasses.replace(ONE, **{count: None})
    with pytest.raises(ReLopeError, match=f"reads '{kind}': {count} not counted"):
        query_costs(PRICES, tokens, Reading(kind))
    for other in READS.keys() - {kind}:
        assert query_costs(PRICES, tokens, Reading(other)).keep[0] > 0


def random_case(n=40, m=3, seed=0):
    rng = np.random.default_rng(seed)
    tokens = Tokens(*(rng.integers(1, 200, n) for _ in range(5)))
    scores = rng.integers(0, 12, (m, n)) / 12  # ties
    return scores, rng.integers(0, 2, n), rng.integers(0, 2, n), query_costs(PRICES, tokens, Reading("prefill"))


def test_cost_curve_equals_sums_over_shuffled_ties():
    scores, _, _, costs = random_case(m=1)
    curve, rng = cost_curve(scores, costs), np.random.default_rng(1)
    sums = np.zeros(41)
    for _ in range(3000):
        order = np.lexsort((rng.uniform(size=40), scores[0]))
        sums += [(costs.defer[order[:k]].sum() + costs.keep[order[k:]].sum()) / 40 for k in range(41)]
    np.testing.assert_allclose(curve[0], sums / 3000, rtol=0.01)
    assert curve[0, 0] == pytest.approx(costs.keep.mean())
    assert curve[0, -1] == pytest.approx(costs.defer.mean())


points = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=7)


def height_by_pairs(points, x):
    """The best accuracy at cost x that a random choice between two of the points reaches."""
    reached = [b for a, b in points if a <= x]
    for a, b in points:
        for c, d in points:
            if a < x < c:
                reached.append(b + (d - b) * (x - a) / (c - a))
    return max(reached)


@settings(max_examples=60, deadline=None)
@given(points)
@example([(1, 1), (2, 2), (3, 3)])
def test_envelope_is_the_best_mixture_at_every_cost(points):
    x, y = np.array(points, float).T
    corners = envelope(x, y)
    for at in np.linspace(min(x), 10, 37):
        assert np.interp(at, *corners.T) == pytest.approx(height_by_pairs(points, at), abs=1e-9)
    assert (np.diff(corners, axis=0) > 0).all()
    slopes = np.diff(corners[:, 1]) / np.diff(corners[:, 0])
    assert (np.diff(slopes) < 0).all()


def test_aiq_equals_a_fine_sum_over_one_range_for_all():
    """The second router starts at a higher and ends at a lower cost than the first."""
    cost = np.array([[1.0, 2, 4, 9], [3, 4, 5, 6]])
    accuracy = np.array([[0.5, 0.6, 0.9, 0.8], [0.6, 0.95, 0.7, 0.9]])
    middles = 1 + 8 * (np.arange(8000) + 0.5) / 8000
    for i, value in enumerate(aiq(cost, accuracy)):
        points, low = list(zip(cost[i], accuracy[i], strict=True)), cost[i, 0]
        heights = [height_by_pairs(points, x) if x >= low else accuracy[i, 0] * x / low for x in middles]
        assert value == pytest.approx(np.mean(heights), abs=1e-4)
    np.testing.assert_allclose(aiq(cost[:1], accuracy[:1], between=(9.0, 12.0)), 0.9)
    with pytest.raises(ValueError, match="range"):
        aiq(cost, accuracy, between=(3.0, 2.0))


@pytest.mark.parametrize("price", [0.0, 0.3])
def test_one_price_for_everything_buys_the_best_accuracy(price):
    """There is no range of costs; rounding of sums gives one of 1e-17."""
    accuracy = np.array([[0.5, 0.9, 0.7], [0.5, 0.6, 0.7]])
    noise = price * np.array([[0, 1e-16, -1e-16], [2e-16, 0, 0]])
    np.testing.assert_array_equal(aiq(price + noise, accuracy), [0.9, 0.7])


FREE = {
    "all free": CostSpec(0, 0, 0, 0),
    "small free": CostSpec(0, 0, 1.0, 4.0),
    "large free": CostSpec(0.1, 0.4, 0, 0),
    "input free": CostSpec(0, 0.4, 0, 4.0),
}


@pytest.mark.parametrize("better", ["small", "large"])
@pytest.mark.parametrize("reading", ["query", "prefill", "answer"])
@pytest.mark.parametrize("name", FREE)
def test_free_models_have_aiq_and_qnc(name, reading, better):
    """QNC is 1 if a free model's accuracy costs nothing, infinite if a router pays for it; never NaN."""
    rng = np.random.default_rng(0)
    weak, strong = (rng.uniform(size=50) < 0.5).astype(int), np.ones(50, int)
    small, large = (strong, weak) if better == "small" else (weak, strong)
    tokens = Tokens(*(rng.integers(1, 200, 50) for _ in range(4)))
    scores = np.stack([np.zeros(50), rng.uniform(size=50)])  # tied scores reach the better model only at the end
    costs = query_costs(FREE[name], tokens, Reading(reading))
    cost, accuracy = cost_curve(scores, costs), deferral_curve(scores, small, large)
    assert (cost >= 0).all()
    found = model_costs(FREE[name], tokens)
    models = np.array([(one.mean(), right.mean()) for one, right in zip(found, (small, large), strict=True)])
    quality, normalised = aiq(cost, accuracy), qnc(cost, accuracy, models)
    assert ((quality >= 0) & (quality <= 1 + 1e-12)).all()
    best = 0 if better == "small" else 1
    paid = costs.keep.mean() if better == "small" else costs.defer.mean()
    if models[best, 0] > 0:
        assert normalised[0] == pytest.approx(paid / models[best, 0])
        assert np.isfinite(normalised).all()
    else:
        np.testing.assert_array_equal(normalised, 1.0 if paid == 0 else np.inf)


def test_what_is_free_costs_nothing():
    """Deferring costs something, keeping nothing: only k = 0 is free, but for the rounding of sums."""
    scores = np.random.default_rng(0).uniform(size=(1, 200))
    tokens = Tokens(*(np.random.default_rng(i).integers(1, 200, 200) for i in range(4)))
    paid = cost_curve(scores, query_costs(FREE["small free"], tokens, Reading("answer")))
    assert np.flatnonzero(paid[0] < 1e-12 * paid.max()).tolist() == [0]
    free = cost_curve(scores, query_costs(FREE["large free"], tokens, Reading("query")))
    assert np.flatnonzero(free[0] < 1e-12 * free.max()).tolist() == [200]


def test_qnc_is_the_first_operating_point_as_good_as_the_best_model():
    """The envelope would reach 0.8 between the points, at 3.5."""
    cost, accuracy = np.array([[1.0, 3, 4, 9], [1, 2, 3, 4]]), np.array([[0.5, 0.7, 0.9, 0.8], [0.5, 0.6, 0.7, 0.75]])
    models = np.array([(1.0, 0.5), (8.0, 0.8)])
    np.testing.assert_array_equal(qnc(cost, accuracy, models), [0.5, np.inf])
    assert qnc(cost, accuracy, np.array([(8.0, 0.8), (2.0, 0.8)]))[0] == 2.0


@needs_outcomes
def test_real_models_are_never_cheaper_together_than_the_oracle():
    """An oracle of both models gets GPT-4's accuracy at the lowest cost of all routers, chance at the full price."""
    small, large, _ = mmlu_outcomes()
    n, rng = len(small), np.random.default_rng(0)
    scores = np.stack([small - large + 0.0, small + 0.0, rng.uniform(size=n)])
    costs = query_costs(CostSpec(), Tokens(*(np.full(n, count) for count in (100, 10, 100, 10))), Reading("query"))
    cost, accuracy = cost_curve(scores, costs), deferral_curve(scores, small, large)
    models = np.array([(costs.keep[0], small.mean()), (costs.defer[0], large.mean())])
    value = qnc(cost, accuracy, models)
    wins, losses = (large > small).sum(), (small > large).sum()
    assert value[0] == pytest.approx((1 + 9 * (wins - losses) / n) / 10)  # a large query costs 10 small ones
    assert value[0] < value[1] < value[2] <= 1
    areas = aiq(cost, accuracy)
    assert areas[0] > areas[1] > areas[2]
    assert areas[2] == pytest.approx((small.mean() + large.mean()) / 2, abs=0.01)
