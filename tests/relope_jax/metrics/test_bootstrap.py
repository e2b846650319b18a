"""The bootstrap against a loop that repeats rows and calls scikit-learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from relope_jax.metrics.auc import delong
from relope_jax.metrics.bootstrap import TAILS, bootstrap, draw


def by_loop(scores, labels, groups, n_resamples, seed):
    """AUC over all rows of the drawn groups. Resamples with one class are left out."""
    names = np.unique(groups)
    with jax.enable_x64(True):
        times = np.asarray(draw(seed, jnp.arange(n_resamples), len(names)))
    aucs = []
    for resample in times.T:
        rows = np.concatenate(
            [np.tile(np.flatnonzero(groups == name), k) for name, k in zip(names, resample, strict=True)]
        )
        if len(set(labels[rows])) == 2:
            aucs.append([roc_auc_score(labels[rows], row[rows]) for row in scores])
    return np.array(aucs).T


def make(n, m=3):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    return np.round(rng.normal(size=(m, n)) + labels, 1), labels  # ties


@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrap_equals_resampling_rows(grouped):
    scores, labels = make(60)
    groups = np.random.default_rng(1).integers(0, 15, 60) * 7 if grouped else None
    result = bootstrap(scores, labels, groups, n_resamples=40, seed=3)
    loop = by_loop(scores, labels, np.arange(60) if groups is None else groups, 40, seed=3)
    np.testing.assert_allclose(result.auc, loop, atol=1e-12)


def test_resamples_with_one_class_are_left_out_and_counted():
    """A third of the resamples miss the only negative."""
    scores, labels = np.array([[0.4, 0.1, 0.4, 0.8, 0.2]]), np.array([0, 1, 1, 1, 1])
    result = bootstrap(scores, labels, n_resamples=200, seed=1)
    loop = by_loop(scores, labels, np.arange(5), 200, seed=1)
    np.testing.assert_allclose(result.auc, loop, atol=1e-12)
    assert result.left_out == 200 - loop.shape[1]
    assert 40 < result.left_out < 100


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_has_no_resamples(label):
    result = bootstrap(np.array([[0.1, 0.2, 0.3]]), np.full(3, label), n_resamples=5)
    assert result.auc.shape == (1, 0)
    assert result.left_out == 5


def test_many_rows_are_resampled_in_pieces():
    """More resamples than fit in memory at once. The first ones do not depend on how many follow."""
    scores, labels = make(20_000, m=2)
    result = bootstrap(scores, labels, n_resamples=20)
    np.testing.assert_allclose(result.auc[:, [0, 17, 19]], by_some_rows(scores, labels, [0, 17, 19]), atol=1e-12)
    np.testing.assert_array_equal(bootstrap(scores, labels, n_resamples=3).auc, result.auc[:, :3])


def by_some_rows(scores, labels, resamples):
    with jax.enable_x64(True):
        times = np.asarray(draw(0, jnp.asarray(resamples), len(labels)))
    rows = [np.repeat(np.arange(len(labels)), column) for column in times.T]
    return np.array([[roc_auc_score(labels[row], score[row]) for row in rows] for score in scores])


def test_seed_decides():
    scores, labels = make(60)
    first = bootstrap(scores, labels, n_resamples=40, seed=5)
    np.testing.assert_array_equal(first.auc, bootstrap(scores, labels, n_resamples=40, seed=5).auc)
    assert (first.auc != bootstrap(scores, labels, n_resamples=40, seed=6).auc).any()


def test_intervals_are_as_wide_as_delong():
    scores, labels = make(2000)
    low, high = np.quantile(bootstrap(scores, labels).auc, TAILS, axis=1)
    true_low, true_high = delong(scores, labels).interval()
    np.testing.assert_allclose(high - low, true_high - true_low, rtol=0.1)
    np.testing.assert_allclose([low, high], [true_low, true_high], atol=0.003)


def test_repeated_samples_add_no_information():
    """Every sample asked three times: drawing groups is equivalent to drawing the distinct samples."""
    scores, labels = make(60)
    once = bootstrap(scores, labels, n_resamples=40)
    thrice = bootstrap(np.tile(scores, 3), np.tile(labels, 3), np.tile(np.arange(60), 3), n_resamples=40)
    np.testing.assert_allclose(thrice.auc, once.auc, atol=1e-12)


def test_non_finite_scores_are_refused():
    with pytest.raises(ValueError, match="finite"):
        bootstrap(np.array([[np.inf, 0.2]]), np.array([0, 1]))
