"""DeLong's test on published data, compared with the published results."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from relope_jax.metrics.auc import auc_with_interval, delong
from relope_jax.metrics.intervals import Z_95
from relope_jax.metrics.summary import auc_difference

# The 43 complete patients of DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988), with ovarian cancer and an
# intestinal obstruction: albumin, total protein, K-G score, and the outcome of surgery. Data and results as in the
# SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves", which takes 10 - K-G.
PATIENTS = np.array([
    (3.0, 5.8, 10, 0), (3.2, 6.3, 5, 1), (3.9, 6.8, 3, 1), (2.8, 4.8, 6, 0), (3.2, 5.8, 3, 1),
    (0.9, 4.0, 5, 0), (2.5, 5.7, 8, 0), (1.6, 5.6, 5, 1), (3.8, 5.7, 5, 1), (3.7, 6.7, 6, 1),
    (3.2, 5.4, 4, 1), (3.8, 6.6, 6, 1), (4.1, 6.6, 5, 1), (3.6, 5.7, 5, 1), (4.3, 7.0, 4, 1),
    (3.6, 6.7, 4, 0), (2.3, 4.4, 6, 1), (4.2, 7.6, 4, 0), (4.0, 6.6, 6, 0), (3.5, 5.8, 6, 1),
    (3.8, 6.8, 7, 1), (3.0, 4.7, 8, 0), (4.5, 7.4, 5, 1), (3.7, 7.4, 5, 1), (3.1, 6.6, 6, 1),
    (4.1, 8.2, 6, 1), (4.3, 7.0, 5, 1), (4.3, 6.5, 4, 1), (3.2, 5.1, 5, 1), (2.6, 4.7, 6, 1),
    (3.3, 6.8, 6, 0), (1.7, 4.0, 7, 0), (3.7, 6.1, 5, 1), (3.3, 6.3, 7, 1), (4.2, 7.7, 6, 1),
    (3.5, 6.2, 5, 1), (2.9, 5.7, 9, 0), (2.1, 4.8, 7, 1), (2.8, 6.2, 8, 0), (4.0, 7.0, 7, 1),
    (3.3, 5.7, 6, 1), (3.7, 6.9, 5, 1), (3.6, 6.6, 5, 1),
])  # fmt: skip
TESTS = ["albumin", "protein", "kg"]
SCORES = np.stack([PATIENTS[:, 0], PATIENTS[:, 1], 10 - PATIENTS[:, 2]])
LABELS = PATIENTS[:, 3].astype(int)


def test_areas_and_limits():
    """SAS gives linear limits, which determine the standard errors; ours are on the logit scale (12 patients are in the
    rarer class)."""
    result = delong(SCORES, LABELS)
    np.testing.assert_allclose(result.auc, [0.7366, 0.6478, 0.7258], atol=5e-5)
    error = np.sqrt(np.diag(result.covariance))
    np.testing.assert_allclose(error, [0.0927, 0.1000, 0.1028], atol=5e-5)
    np.testing.assert_allclose(result.auc - Z_95 * error, [0.5549, 0.4518, 0.5243], atol=5e-5)
    np.testing.assert_allclose(result.auc + Z_95 * error, [0.9182, 0.8439, 0.9273], atol=5e-5)
    for low, high in (result.interval(), auc_with_interval(SCORES, LABELS)[1:]):
        centre, half = logit(result.auc), stats.t(11).ppf(0.975) * error / (result.auc * (1 - result.auc))
        np.testing.assert_allclose([low, high], [expit(centre - half), expit(centre + half)], atol=1e-12)


@pytest.mark.parametrize(
    ("first", "expected"),
    [("albumin", (0.0108, -0.1761, 0.1976, 0.9102)), ("protein", (-0.0780, -0.2830, 0.1271, 0.4561))],
)
def test_paired_differences(first, expected):
    found = auc_difference(delong(SCORES, LABELS), TESTS, first, "kg")
    assert (found.difference, found.low, found.high, found.p) == pytest.approx(expected, abs=5e-5)


def test_all_areas_are_equal():
    """Chi-square test of both differences together."""
    result = delong(SCORES, LABELS)
    contrast = np.array([[1, 0, -1], [0, 1, -1]])
    difference = contrast @ result.auc
    chi_square = difference @ np.linalg.solve(contrast @ result.covariance @ contrast.T, difference)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)
    assert np.exp(-chi_square / 2) == pytest.approx(0.2817, abs=5e-5)


def test_ratings_with_many_ties():
    """Hanley & McNeil (Radiology 143, 1982): 109 tomograms rated 1 to 5; area and DeLong's linear limits as in the
    Stata manual, [R] roctab."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = np.repeat([1.0, 2, 3, 4, 5, 1, 2, 3, 4, 5], normal + abnormal)[None]
    labels = np.repeat([0, 1], [58, 51])
    auc, low, high = (found[0] for found in auc_with_interval(ratings, labels))
    error = np.sqrt(delong(ratings, labels).covariance[0, 0])
    assert auc == pytest.approx(0.8932, abs=5e-5)
    assert error == pytest.approx(0.0307, abs=5e-5)
    assert (auc - Z_95 * error, auc + Z_95 * error) == pytest.approx((0.83295, 0.95339), abs=5e-6)
    half = stats.t(50).ppf(0.975) * error / (auc * (1 - auc))
    assert (low, high) == pytest.approx((expit(logit(auc) - half), expit(logit(auc) + half)), abs=1e-12)
