"""Paired bootstrap of areas under deferral curves, against a loop over repeated rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relope_jax.metrics.bootstrap import draw
from relope_jax.metrics.paired import PairedDifference
from relope_jax.metrics.routing.bootstrap import bootstrap_routing
from relope_jax.metrics.routing.pgr import apgr, audc, deferral_curve
from tests.relope_jax.metrics.outcomes import mmlu_outcomes, needs_outcomes


def make(n, m=3, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 2, n)
    large = np.maximum(small, rng.integers(0, 2, n))
    return np.round(rng.normal(size=(m, n)) + small, 1), small, large  # ties


def areas_by_definition(scores, small, large):
    """APGR and AUDC of one router; tied samples share the middle of their positions."""
    n, gain = len(small), large - small
    order = np.sort(scores)
    middle = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right")) / 2
    gained = np.sum(gain * (1 - middle / n)) / n
    return gained / gain.mean(), small.mean() + gained


def by_loop(scores, small, large, groups, n_resamples, seed):
    names = np.unique(groups)
    with jax.enable_x64(True):
        times = np.asarray(draw(seed, jnp.arange(n_resamples), len(names)))
    values = []
    for resample in times.T:
        rows = np.concatenate([np.tile(np.flatnonzero(groups == g), k) for g, k in zip(names, resample, strict=True)])
        values.append([areas_by_definition(row[rows], small[rows], large[rows]) for row in scores])
    return np.array(values).T


@pytest.mark.parametrize("grouped", [False, True])
def test_equals_resampling_rows(grouped):
    """Groups of different sizes give resamples of different lengths."""
    scores, small, large = make(50)
    groups = np.random.default_rng(1).integers(0, 15, 50) * 7 if grouped else np.arange(50)
    result = bootstrap_routing(scores, small, large, groups if grouped else None, n_resamples=25, seed=3)
    loops = by_loop(scores, small, large, groups, 25, seed=3)
    for metric, found, loop in zip((apgr, audc), result, loops, strict=True):
        np.testing.assert_allclose(found.resamples, loop, atol=1e-12)
        np.testing.assert_allclose(found.value, metric(deferral_curve(scores, small, large)))
        estimate = found.difference(["a", "a", "b"], "a", "b")
        drawn = (loop[0] + loop[1]) / 2 - loop[2]
        assert estimate.difference == pytest.approx((found.value[0] + found.value[1]) / 2 - found.value[2])
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
        assert estimate.p == pytest.approx(min(1, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / 26))


def test_many_rows_are_resampled_in_pieces():
    scores, small, large = make(20_000, m=2)
    result = bootstrap_routing(scores, small, large, n_resamples=20)
    loop = by_loop(scores, small, large, np.arange(20_000), 4, seed=0)
    np.testing.assert_allclose(result.audc.resamples[:, :4], loop[1], atol=1e-12)


def test_a_method_does_not_differ_from_itself():
    scores, small, large = make(100, m=1)
    result = bootstrap_routing(np.tile(scores, (2, 1)), small, large, n_resamples=50).apgr
    assert result.difference(["a", "b"], "a", "b") == PairedDifference("a", "b", 0.0, 0.0, 0.0, 1.0, 1.0)


def test_resamples_where_the_models_are_equal_are_left_out():
    """The models differ on one prompt only, which a third of the resamples miss."""
    small = np.array([0, 1, 1, 0, 1])
    large = np.array([1, 1, 1, 0, 1])
    result = bootstrap_routing(np.arange(5.0)[None], small, large, n_resamples=200)
    assert 40 < result.apgr.left_out < 100
    assert result.apgr.resamples.shape == (1, 200 - result.apgr.left_out)
    assert result.audc.resamples.shape == (1, 200)
    nothing = bootstrap_routing(np.arange(10.0).reshape(2, 5), small, small, n_resamples=20).apgr
    assert nothing.left_out == 20
    found = nothing.difference(["a", "b"], "a", "b")
    assert np.isnan([found.difference, found.low, found.high]).all()


def test_p_values_of_equally_good_routers_are_uniform_enough():
    """Two routers with the same noise: at most 5% (plus chance) of 200 tests call them different."""
    called = 0
    for i in range(200):
        scores, small, large = make(150, m=2, seed=i)
        called += (
            bootstrap_routing(scores, small, large, n_resamples=200).apgr.difference(["a", "b"], "a", "b").p < 0.05
        )
    assert called <= 20  # P(Binomial(200, 0.05) > 20) = 0.001
    assert called >= 2  # and the test has some power


@needs_outcomes
def test_a_real_difference_is_seen():
    small, large, subjects = mmlu_outcomes()
    rate = {subject: small[subjects == subject].mean() for subject in set(subjects)}
    rng = np.random.default_rng(0)
    scores = np.stack([[rate[subject] for subject in subjects], rng.uniform(size=len(small))])
    result = bootstrap_routing(scores, small, large, n_resamples=200)
    estimate = result.apgr.difference(["subject", "random"], "subject", "random")
    assert estimate.low > 0
    assert estimate.p == pytest.approx(2 / 201)
    assert result.audc.difference(["subject", "random"], "random", "subject").high < 0
