"""AUC, deferral curves and the bootstrap order and tie scores identically, for every float type."""

from __future__ import annotations

import numpy as np
import pytest

from relope_jax.metrics.auc import auc, auc_with_interval, delong
from relope_jax.metrics.bootstrap import bootstrap
from relope_jax.metrics.evaluate import evaluate
from relope_jax.metrics.routing.bootstrap import bootstrap_routing
from relope_jax.metrics.routing.deferral import risk_coverage, sums_of_lowest
from relope_jax.metrics.routing.pgr import apgr, deferral_curve, prr

SUBNORMAL = [5e-324, 1e-323, 1e-310, 2e-308]
SINGLE = [np.float32(value) for value in (1e-45, 3e-45, 1e-40, 1e-38)]  # subnormal as float32, ordinary as float64
SIZES = {
    "subnormal": SUBNORMAL,
    "both signs": [-1e-310, -5e-324, 0.0, 5e-324, 1e-310],
    "zeros": [-0.0, 0.0],
    "zeros and subnormal": [-5e-324, -0.0, 0.0, 5e-324],
    "subnormal and ordinary": [1e-310, 0.5, np.nextafter(0.5, 1), 1.0],
    "neighbours": [1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0)],
    "largest": [-1.7e308, 1e308, 1.7e308],
    "subnormal float32": SINGLE,
}


def lowest_by_ranks(scores: np.ndarray, values: np.ndarray) -> list[float]:
    """Sums over the k lowest scores, by comparing Python floats; tied scores share their positions."""
    exact, sums = [float(score) for score in scores], [0.0]
    each = {
        score: np.mean([value for other, value in zip(exact, values, strict=True) if other == score]) for score in exact
    }
    for score in sorted(exact):
        sums.append(sums[-1] + each[score])
    return sums


def auc_by_pairs(scores: np.ndarray, labels: np.ndarray) -> float:
    right, wrong = ([float(s) for s in scores[labels == label]] for label in (1, 0))
    return np.mean([(a > b) + 0.5 * (a == b) for a in right for b in wrong])


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sums_of_the_lowest_compare_floats_as_python_does(sizes):
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, values = rng.choice(sizes, 9), rng.normal(size=9)
        np.testing.assert_allclose(sums_of_lowest(scores[None], values)[0], lowest_by_ranks(scores, values), atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_perfect_large_model_makes_apgr_the_auc(sizes):
    """APGR = base rate x AUC + share of wrong answers / 2: curve and AUC use the same order."""
    rng = np.random.default_rng(1)
    labels = np.array([0, 1] * 15)
    scores = rng.choice(sizes, (4, 30))
    curve = deferral_curve(scores, labels, np.ones_like(labels))
    expected = [auc_by_pairs(row, labels) for row in scores]
    for found in (auc(scores, labels), delong(scores, labels).auc, auc_with_interval(scores, labels).auc):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(apgr(curve), 0.5 * np.array(expected) + 0.25, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_what_is_read_off_the_order_depends_on_the_order_alone(sizes):
    """Replacing the scores by their ranks, which are ordinary numbers, gives the same results."""
    rng = np.random.default_rng(2)
    labels, large = np.array([0, 1] * 15), rng.integers(0, 2, 30)
    scores = rng.choice(sizes, (3, 30))
    ranks = np.unique(scores.astype(np.float64), return_inverse=True)[1].reshape(3, 30) / 100
    for metric in (prr, risk_coverage, sums_of_lowest):
        np.testing.assert_allclose(metric(scores, labels), metric(ranks, labels), atol=1e-12)
    drawn = [bootstrap_routing(s, labels, large, n_resamples=20).audc.resamples for s in (scores, ranks)]
    np.testing.assert_allclose(*drawn, atol=1e-12)
    np.testing.assert_allclose(*(bootstrap(s, labels, n_resamples=20).auc for s in (scores, ranks)), atol=1e-12)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    "function",
    [
        lambda s, y: sums_of_lowest(s, y),
        lambda s, y: risk_coverage(s, y),
        lambda s, y: deferral_curve(s, y, y),
        lambda s, y: bootstrap_routing(s, y, y),
        evaluate,
        delong,
    ],
    ids=["sums", "risk", "curve", "bootstrap", "evaluate", "delong"],
)
def test_what_has_no_rank_is_refused_by_all(function, bad):
    with pytest.raises(ValueError, match="finite"):
        function(np.array([[bad, 0.2, 0.1, 0.7]]), np.array([0, 1, 1, 0]))
