"""AUC and DeLong against scikit-learn and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from relope_jax.metrics.auc import auc, auc_with_interval, delong
from relope_jax.metrics.summary import auc_difference, mean_auc


def delong_by_definition(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong et al. 1988, with the equations written out over all pairs."""
    v10, v01 = [], []
    for row in scores:
        x, y = row[labels == 1], row[labels == 0]
        psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    v10, v01 = np.array(v10), np.array(v01)
    covariance = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    return v10.mean(axis=1), np.atleast_2d(covariance)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([2, 3, 10, 10**6]))
def test_delong_equals_its_definition(seed, levels):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, 36)])
    scores = rng.integers(0, levels, (3, 40)) / levels  # few levels: many ties
    result = delong(scores, labels)
    value, covariance = delong_by_definition(scores, labels)
    np.testing.assert_allclose(result.auc, value, atol=1e-12)
    np.testing.assert_allclose(result.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(result.auc, [roc_auc_score(labels, row) for row in scores], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([2, 3, 10, 10**6]), scale=st.sampled_from([1.0, -1e-300]))
def test_the_cheaper_ways_equal_delong(seed, levels, scale):
    """Including scores whose range needs the slower sort."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, 36)])
    scores = scale * rng.integers(0, levels, (3, 40)) / levels
    result, interval = delong(scores, labels), auc_with_interval(scores, labels)
    np.testing.assert_array_equal(auc(scores, labels), result.auc)
    np.testing.assert_array_equal(interval.auc, result.auc)
    np.testing.assert_allclose((interval.low, interval.high), result.interval(), atol=1e-12)


def test_perfect_scores_are_not_certain():
    labels = np.array([0, 0, 0, 1, 1])
    least = 0.025 ** (1 / 2)  # two independent pairs, both ordered correctly
    for scores, expected in ((labels, (1.0, least, 1.0)), (-labels, (0.0, 0.0, 1 - least))):
        assert auc_with_interval(scores[None], labels) == pytest.approx(expected)
        assert tuple(limit[0] for limit in delong(scores[None], labels).interval()) == pytest.approx(expected[1:])


def test_one_sample_of_a_class_has_an_auc_but_no_interval():
    value, low, high = auc_with_interval(np.array([[0.3, 0.1, 0.5]]), np.array([1, 0, 0]))
    assert value[0] == 0.5
    assert np.isnan([low[0], high[0]]).all()


def test_a_million_rows_are_exact():
    """Float32 rank sums fail here; the count is an integer."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 10**6)
    scores = np.round(rng.normal(size=(1, 10**6)) + 0.1 * labels, 3)
    exact = pytest.approx(roc_auc_score(labels, scores[0]), abs=1e-12)
    result, interval = delong(scores, labels), auc_with_interval(scores, labels)
    assert result.auc[0] == exact
    assert auc(scores, labels)[0] == exact
    np.testing.assert_allclose(np.concatenate(interval[1:]), np.concatenate(result.interval()), atol=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_single_class_is_undefined(label):
    scores, labels = np.array([[0.1, 0.2]]), np.full(2, label)
    assert np.isnan(delong(scores, labels).auc[0])
    assert np.isnan(auc(scores, labels)[0])
    assert np.isnan(auc_with_interval(scores, labels)).all()


@pytest.mark.parametrize("function", [auc, auc_with_interval, delong])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_are_refused(function, bad):
    with pytest.raises(ValueError, match="finite"):
        function(np.array([[bad, 0.2]]), np.array([0, 1]))


def test_interval_covers_as_often_as_it_says():
    """95% intervals over 400 draws with a known AUC: between 91% and 98% must cover it."""
    rng = np.random.default_rng(1)
    truth = 0.7602499389065233  # P(N(1,1) > N(0,1)) = Phi(1/sqrt 2)
    covered = 0
    for _ in range(400):
        labels = rng.integers(0, 2, 150)
        low, high = delong((rng.normal(size=150) + labels)[None], labels).interval()
        covered += low[0] <= truth <= high[0]
    assert 0.91 <= covered / 400 <= 0.98


def clustered_by_definition(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Obuchowski 1997: S10, S01 and S11 written out over all clusters."""
    names = np.unique(groups)
    value, sums = [], {0: [], 1: []}
    for row in scores:
        x, y = row[labels == 1], row[labels == 0]
        psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
        value.append(psi.mean())
        for label, component in ((1, psi.mean(axis=1)), (0, psi.mean(axis=0))):
            owner = groups[labels == label]
            sums[label].append([np.sum(component[owner == name] - psi.mean()) for name in names])
    v10, v01 = np.array(sums[1]), np.array(sums[0])
    m, n = np.sum(labels == 1), np.sum(labels == 0)
    i10, i01, i = (len(np.unique(chosen)) for chosen in (groups[labels == 1], groups[labels == 0], groups))
    s10, s01 = i10 / ((i10 - 1) * m) * v10 @ v10.T, i01 / ((i01 - 1) * n) * v01 @ v01.T
    s11 = i / (i - 1) * v10 @ v01.T
    return s10 / m + s01 / n + (s11 + s11.T) / (m * n)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([2, 3, 10, 10**6]), n_groups=st.sampled_from([3, 9, 25]))
def test_clustered_delong_equals_its_definition(seed, levels, n_groups):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1], rng.random(36) < 0.8]).astype(int)  # one class is rarer
    groups = np.concatenate([[0, 1, 0, 1], rng.integers(0, n_groups, 36)]) * 7
    scores = rng.integers(0, levels, (3, 40)) / levels
    found = delong(scores, labels, groups)
    np.testing.assert_allclose(found.covariance, clustered_by_definition(scores, labels, groups), atol=1e-12)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12, "a variance of a difference is never negative"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([2, 10, 10**6]), rarer=st.sampled_from([2, 5, 20]))
def test_groups_of_one_are_delong(seed, levels, rarer):
    """Covariances, and so paired differences, for any names of the groups and however few answers are wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [rarer, 40 - rarer]))
    scores = rng.integers(0, levels, (3, 40)) / levels
    value, covariance = delong_by_definition(scores, labels)
    grouped = delong(scores, labels, rng.permutation([f"image {i}" for i in range(40)]))
    np.testing.assert_allclose(grouped.auc, value, atol=1e-12)
    np.testing.assert_allclose(grouped.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(grouped.covariance, delong(scores, labels).covariance, atol=1e-12)
    np.testing.assert_allclose(grouped.auc, [roc_auc_score(labels, row) for row in scores], atol=1e-12)
    methods, contrast = ["a", "b", "c"], np.array([1.0, -1.0, 0.0])
    difference = auc_difference(grouped, methods, "a", "b")
    error = np.sqrt(max(contrast @ covariance @ contrast, 0.0))
    assert difference.high - difference.low == pytest.approx(2 * 1.959963984540054 * error, abs=1e-7)


def test_one_group_with_all_wrong_answers_has_no_interval():
    found = delong(np.array([[0.3, 0.1, 0.5, 0.2]]), np.array([1, 0, 1, 0]), np.array([0, 1, 2, 1]))
    assert found.auc[0] == 1.0
    assert np.isnan(found.covariance[0, 0])
    middling = delong(np.array([[0.3, 0.1, 0.5, 0.4]]), np.array([1, 0, 1, 0]), np.array([0, 1, 2, 1]))
    assert np.isnan(middling.interval()).all()


def test_repeated_samples_add_no_information():
    """Every sample asked three times: grouped intervals are as wide as for the distinct samples."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 400)
    scores = rng.normal(size=(1, 400)) + labels
    once = delong(scores, labels, np.arange(400)).covariance
    groups = np.tile(np.arange(400), 3)
    thrice = delong(np.tile(scores, 3), np.tile(labels, 3), groups).covariance
    np.testing.assert_allclose(thrice, once, rtol=1e-9)
    assert delong(np.tile(scores, 3), np.tile(labels, 3)).covariance[0, 0] < 0.4 * once[0, 0]


def test_summary_of_seeds_and_paired_difference():
    """The mean of identical seeds keeps one seed's interval; a method does not differ from itself."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 200)
    good, bad = rng.normal(size=200) + 2 * labels, rng.normal(size=200)
    methods = ["good", "good", "bad", "twin"]
    result = delong(np.stack([good, good, bad, good]), labels)
    low, high = result.interval()
    estimate = mean_auc(result, methods, "good")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((result.auc[0], low[0], high[0]))
    same = auc_difference(result, methods, "good", "twin")
    assert same.difference == pytest.approx(0.0)
    assert same.p == 1.0
    apart = auc_difference(result, methods, "good", "bad")
    assert apart.difference == pytest.approx(result.auc[0] - result.auc[2])
    assert apart.p < 1e-6
    assert apart.low > 0
