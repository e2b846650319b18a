"""Deferral curves and the numbers read from them, against plain definitions, and on real outcomes of two models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc as area
from sklearn.metrics import roc_auc_score

from relope_jax.metrics.evaluate import evaluate
from relope_jax.metrics.routing.pgr import apgr, audc, cpt, deferral_curve, pgr, prr
from tests.relope_jax.metrics.outcomes import mmlu_outcomes, needs_outcomes


def curve_by_orders(scores, small, large):
    """Mean over every order that sorts the scores."""
    n, curves = len(scores), []
    for order in itertools.permutations(range(n)):
        if all(scores[a] <= scores[b] for a, b in itertools.pairwise(order)):
            curves.append(
                [(sum(large[i] for i in order[:k]) + sum(small[i] for i in order[k:])) / n for k in range(n + 1)]
            )
    return [sum(column) / len(curves) for column in zip(*curves, strict=True)]


def random_case(n, seed=0, levels=10**6, m=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, levels, (m, n)) / levels, rng.integers(0, 2, n), rng.integers(0, 2, n)


outcomes = st.lists(st.integers(0, 1), min_size=6, max_size=6)


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.integers(0, 3), min_size=6, max_size=6), small=outcomes, large=outcomes)
def test_everything_equals_its_definition_over_all_orders(scores, small, large):
    expected = curve_by_orders(scores, small, large)
    curve = deferral_curve(np.array([scores]), np.array(small), np.array(large))
    np.testing.assert_allclose(curve[0], expected, atol=1e-12)
    shares = [k / 6 for k in range(7)]
    assert audc(curve)[0] == pytest.approx(area(shares, expected))
    gap = (sum(large) - sum(small)) / 6
    if gap == 0:
        assert np.isnan([apgr(curve)[0], cpt(curve, 0.5)[0], *pgr(curve)[0]]).all()
        return
    recovered = [(a - expected[0]) / gap for a in expected]
    np.testing.assert_allclose(pgr(curve)[0], recovered, atol=1e-12)
    assert apgr(curve)[0] == pytest.approx(area(shares, recovered))
    for x in (0.5, 0.8, 1.0):
        assert cpt(curve, x)[0] == next(r for r, p in zip(shares, recovered, strict=True) if p >= x - 1e-9)


def test_a_case_worked_by_hand():
    """Deferring in score order gains 1, 0, 1, -1, 1: PGR 0, 1/2, 1/2, 1, 1/2, 1."""
    small, large = np.array([0, 1, 0, 1, 0]), np.array([1, 1, 1, 0, 1])
    curve = deferral_curve(np.array([[1.0, 2, 3, 4, 5]]), small, large)
    np.testing.assert_allclose(curve, [[0.4, 0.6, 0.6, 0.8, 0.6, 0.8]])
    assert cpt(curve, 0.5)[0] == 1 / 5
    assert cpt(curve, 0.8)[0] == 3 / 5  # the first crossing, although the curve falls below it again
    assert apgr(curve)[0] == pytest.approx((0.5 + 0.5 + 1 + 0.5 + 0.5) / 5)
    assert audc(curve)[0] == pytest.approx((0.6 + 0.6 + 0.8 + 0.6 + 0.6) / 5)


def test_thresholds_are_reached_in_spite_of_rounding():
    """PGR(k/10) is exactly k/10: CPT(80%) is 0.8, and not 0.9."""
    small, large = np.zeros(10, int), np.ones(10, int)
    curve = deferral_curve(np.arange(10.0)[None], small, large)
    assert [cpt(curve, k / 10)[0] for k in range(11)] == [k / 10 for k in range(11)]


def test_a_share_that_no_router_reaches():
    curve = np.array([[0.5, 0.6, 0.7]])
    assert np.isnan(cpt(curve, 1.1)[0])


def test_scores_without_information_are_random():
    _, small, large = random_case(500)
    curve = deferral_curve(np.full((1, 500), 0.3), small, large)
    np.testing.assert_allclose(curve[0], np.linspace(small.mean(), large.mean(), 501), atol=1e-12)
    assert apgr(curve)[0] == pytest.approx(0.5)
    assert audc(curve)[0] == pytest.approx((small.mean() + large.mean()) / 2)


def test_ends_are_the_models_whatever_the_router():
    scores, small, large = random_case(300, levels=7, m=4)
    curve = deferral_curve(scores, small, large)
    np.testing.assert_allclose(curve[:, 0], small.mean(), atol=1e-12)
    np.testing.assert_allclose(curve[:, -1], large.mean(), atol=1e-12)


@pytest.mark.parametrize("metric", [apgr, audc])
def test_areas_do_not_depend_on_order_scale_or_repetition(metric):
    scores, small, large = random_case(200, seed=1, levels=20)
    value = metric(deferral_curve(scores, small, large))
    order = np.random.default_rng(0).permutation(200)
    same = [(scores[:, order], small[order], large[order]), (np.exp(scores) - 7, small, large)]
    same.append((np.tile(scores, 3), np.tile(small, 3), np.tile(large, 3)))
    for case in same:
        np.testing.assert_allclose(metric(deferral_curve(*case)), value, atol=1e-12)
    assert abs(metric(deferral_curve(-scores, small, large)) - value) > 1e-3


def prr_by_loop(scores, labels):
    n, base = len(labels), sum(labels) / len(labels)

    def kept_accuracy(order):
        return sum(sum(labels[i] for i in order[k:]) / (n - k) for k in range(n)) / n

    router = kept_accuracy(sorted(range(n), key=lambda i: scores[i]))
    oracle = kept_accuracy(sorted(range(n), key=lambda i: labels[i]))
    return (router - base) / (oracle - base)


def test_prr_equals_its_definition():
    scores, labels, _ = random_case(60, seed=2)
    assert prr(scores, labels)[0] == pytest.approx(prr_by_loop(scores[0], labels))


def test_prr_of_the_oracle_of_no_information_and_of_one_class():
    _, labels, _ = random_case(60, seed=2)
    np.testing.assert_allclose(prr(np.stack([labels, np.zeros(60)]), labels), [1, 0], atol=1e-12)
    assert prr(-labels[None], labels)[0] < -0.5
    assert np.isnan(prr(np.arange(3.0)[None], np.ones(3, int))[0])


def test_random_rejection_is_zero_on_average():
    """The closed form of the random curve against the mean over many random orders."""
    labels = np.array([1, 1, 0, 1, 0, 1, 1, 1])
    scores = np.random.default_rng(0).uniform(size=(4000, 8))
    values = prr(scores, labels)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(4000)


def test_evaluate_with_a_large_model():
    scores, small, large = random_case(200, seed=3, m=3)
    values = evaluate(scores, small, large=large).values
    curve = deferral_curve(scores, small, large)
    expected = {"apgr": apgr(curve), "cpt_50": cpt(curve, 0.5), "cpt_80": cpt(curve, 0.8), "audc": audc(curve)}
    assert set(values) == set(evaluate(scores, small).values) | set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value)
    assert np.isnan(evaluate(scores, small, large=small).values["apgr"]).all()


@pytest.mark.parametrize("function", [lambda s, y: deferral_curve(s, y, y), prr])
def test_non_finite_scores_are_refused(function):
    with pytest.raises(ValueError, match="finite"):
        function(np.array([[np.nan, 0.2]]), np.array([0, 1]))


@needs_outcomes
def test_real_models():
    """Mixtral 8x7B and GPT-4 on MMLU: a random router is on the diagonal, an oracle of both is the upper bound."""
    small, large, _ = mmlu_outcomes()
    assert len(small) == 14_042
    rng = np.random.default_rng(0)
    oracle = small - large + 0.0  # lowest: only the large model is right; highest: only the small one
    scores = np.stack([rng.uniform(size=len(small)), oracle, -oracle, small - 0.0])
    curve = deferral_curve(scores, small, large)
    np.testing.assert_allclose(curve[:, 0], 0.681, atol=5e-4)
    np.testing.assert_allclose(curve[:, -1], 0.806, atol=5e-4)
    assert apgr(curve)[0] == pytest.approx(0.5, abs=0.03)
    assert cpt(curve, 0.5)[0] == pytest.approx(0.5, abs=0.05)
    # the curve rises where only the large model is right, is flat, and falls where only the small one is right
    wins, losses, n = int((large > small).sum()), int((small > large).sum()), len(small)
    middle = (n - wins - losses) * wins + wins**2 / 2 + losses * (wins - losses / 2)
    assert apgr(curve)[1] == pytest.approx(middle / (n * (wins - losses)))
    assert apgr(curve)[1] + apgr(curve)[2] == pytest.approx(1.0)
    assert apgr(curve)[1] > apgr(curve)[3] > 0.5
    assert cpt(curve, 0.5)[1] == pytest.approx((wins - losses) / 2 / n, abs=1 / n)


@needs_outcomes
def test_real_subset_by_definition():
    """60 real prompts with many ties, counted in plain Python."""
    small, large, subjects = mmlu_outcomes()
    rows = np.random.default_rng(1).choice(len(small), 60, replace=False)
    rate = {s: small[subjects == s].mean() for s in set(subjects)}  # a router that knows the difficulty of each subject
    scores = np.array([rate[s] for s in subjects[rows]])
    small, large = small[rows], large[rows]
    position = [(np.sum(scores < s) + np.sum(scores <= s)) / 2 for s in scores]  # the middle of a tie
    gained = sum((b - a) * (1 - p / 60) for a, b, p in zip(small, large, position, strict=True)) / 60
    curve = deferral_curve(scores[None], small, large)
    assert audc(curve)[0] == pytest.approx(small.mean() + gained)
    assert apgr(curve)[0] == pytest.approx(gained / (large.mean() - small.mean()))


@needs_outcomes
def test_a_perfect_large_model_makes_apgr_an_auc():
    """If the large model is always right, APGR = base rate x AUC + share of wrong answers / 2."""
    small, _, subjects = mmlu_outcomes()
    scores = np.unique(subjects, return_inverse=True)[1] % 7 + small * 0.5
    curve = deferral_curve(scores[None], small, np.ones_like(small))
    expected = small.mean() * roc_auc_score(small, scores) + (1 - small.mean()) / 2
    assert apgr(curve)[0] == pytest.approx(expected)
