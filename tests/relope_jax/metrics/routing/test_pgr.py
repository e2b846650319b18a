"""Calibration, deferral and the whole evaluation against plain loops and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from relope_jax.errors import ReLopeError
from relope_jax.metrics.calibration import accuracy, brier_score, expected_calibration_error, reliability
from relope_jax.metrics.evaluate import evaluate
from relope_jax.metrics.routing.deferral import caught_at, risk_coverage, sums_of_lowest


def ece_by_loop(scores, labels, bins=15):
    total = 0.0
    for i in range(bins):
        upper = scores < (i + 1) / bins if i < bins - 1 else scores <= 1.0
        inside = (scores >= i / bins) & upper
        if inside.any():
            total += inside.mean() * abs(labels[inside].mean() - scores[inside].mean())
    return total


def test_ece_equals_a_loop_over_bins():
    rng = np.random.default_rng(0)
    scores, labels = rng.uniform(size=(2, 300)), rng.integers(0, 2, 300)
    result = expected_calibration_error(scores, labels)
    np.testing.assert_allclose(result, [ece_by_loop(row, labels) for row in scores], atol=1e-12)


def test_calibrated_scores_have_no_ece():
    scores = np.array([[0.25] * 4 + [0.75] * 4])
    labels = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert expected_calibration_error(scores, labels)[0] == pytest.approx(0.0, abs=1e-12)


def test_reliability_is_what_the_ece_sums():
    """And the values of a small case with an empty bin, an edge and a score of 1."""
    rng = np.random.default_rng(1)
    scores, labels = rng.uniform(size=300), rng.integers(0, 2, 300)
    table = reliability(scores, labels)
    total = np.sum(table.samples * np.abs(table.accuracy - table.score)) / 300
    assert total == pytest.approx(ece_by_loop(scores, labels))
    small = reliability(np.array([0.1, 0.3, 0.5, 1.0, 0.9]), np.array([0, 1, 1, 1, 0]), bins=4)
    assert small.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert small.samples.tolist() == [1, 1, 1, 2]
    np.testing.assert_allclose(small.score, [0.1, 0.3, 0.5, 0.95])
    np.testing.assert_allclose(small.accuracy, [0, 1, 1, 0.5])
    empty = reliability(np.array([0.1]), np.array([1]), bins=2)
    assert np.isnan([empty.score[1], empty.accuracy[1]]).all()


@settings(max_examples=20, deadline=None)
@given(
    scores=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    labels=st.lists(st.integers(0, 1), min_size=6, max_size=6),
)
def test_ties_count_as_the_mean_over_all_orders(scores, labels):
    """Caught wrong answers with ties equal the average over every order of the tied samples."""
    scores, labels = np.array(scores, float), np.array(labels)
    if labels.min() == 1:
        return  # no wrong answer to catch
    caught = []
    for order in itertools.permutations(range(6)):
        order = sorted(order, key=lambda i: scores[i])  # a stable sort keeps the permutation inside ties
        caught.append((1 - labels)[order[:2]].sum() / (1 - labels).sum())
    wrong = sums_of_lowest(scores[None], 1 - labels)
    assert caught_at(wrong, 2 / 6)[0] == pytest.approx(np.mean(caught))


def test_risk_coverage():
    labels = np.array([0, 1, 0, 1, 1])
    risk = risk_coverage(np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]), labels)[0]
    np.testing.assert_allclose(risk, [2 / 5, 1 / 4, 1 / 3, 0, 0])


def test_evaluate_against_sklearn():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 500)
    scores = np.clip(0.5 + 0.2 * rng.normal(size=(4, 500)) + 0.1 * labels, 0, 1)
    values = evaluate(scores, labels).values
    np.testing.assert_allclose(values["auc"], [roc_auc_score(labels, s) for s in scores])
    np.testing.assert_allclose(values["accuracy"], [accuracy_score(labels, s > 0.5) for s in scores])
    order = np.argsort(scores[0])
    caught = (1 - labels)[order[:50]].sum() / (1 - labels).sum()
    assert values["caught_10"][0] == pytest.approx(caught)
    np.testing.assert_allclose(values["brier"], [brier_score_loss(labels, s) for s in scores])
    shares = {"caught_10", "caught_20", "caught_30"}
    assert set(values) == {"auc", "auc_low", "auc_high", "accuracy", "ece", "brier", "prr"} | shares


def test_accuracy_is_a_count():
    """Exactly equal to a constant that is correct as often, for every size."""
    for n in range(4, 60):
        scores, labels, right = counted(n)
        assert accuracy(scores, labels).tolist() == [count / n for count in right]


@pytest.mark.parametrize("n", [7, 23, 41])
def test_the_evaluation_counts_too(n):
    """A float32 mean differs at these sizes."""
    scores, labels, right = counted(n)
    assert evaluate(scores, labels).values["accuracy"].tolist() == [count / n for count in right]


def counted(n):
    """Two constants and a random router, and the number of correct answers of each."""
    rng = np.random.default_rng(n)
    labels = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, n - 4)])
    scores = np.stack([np.full(n, 0.9), np.full(n, 0.1), rng.uniform(size=n)])
    return scores, labels, [int(labels.sum()), n - int(labels.sum()), int(((scores[2] > 0.5) == labels).sum())]


def test_means_over_many_samples_are_float64():
    """A million samples in the caller's default precision; a float32 sum is off by 1e-5 or more."""
    rng = np.random.default_rng(7)
    n = 10**6
    labels, scores = rng.integers(0, 2, n), rng.uniform(size=(1, n)).astype(np.float32)
    exact = scores[0].astype(np.float64)
    values = evaluate(scores, labels).values
    assert brier_score(scores, labels)[0] == pytest.approx(np.mean((exact - labels) ** 2), abs=1e-13)
    assert accuracy(scores, labels)[0] == np.sum((exact > 0.5) == labels) / n
    assert expected_calibration_error(scores, labels)[0] == pytest.approx(ece_by_loop(exact, labels), abs=1e-12)
    order = np.argsort(exact, kind="stable")
    caught = (1 - labels)[order[:200_000]].sum() / (1 - labels).sum()
    found = caught_at(sums_of_lowest(scores, 1 - labels), 0.2)[0]
    assert found == pytest.approx(caught, abs=1e-5)  # float32 scores tie by chance
    for name, value in {"brier": brier_score, "ece": expected_calibration_error}.items():
        assert values[name][0] == value(scores, labels)[0]
    kept = np.cumsum(labels[order[::-1]])[::-1] / np.arange(n, 0, -1)
    oracle = np.mean(np.minimum(1.0, labels.sum() / np.arange(1, n + 1)))
    assert values["prr"][0] == pytest.approx((kept.mean() - labels.mean()) / (oracle - labels.mean()), abs=1e-5)


def test_equal_labels_are_refused():
    with pytest.raises(ReLopeError, match="every answer is right"):
        evaluate(np.ones((1, 3)), np.ones(3, int))
    with pytest.raises(ReLopeError, match="only one right or one wrong"):
        evaluate(np.ones((1, 3)), np.array([1, 1, 0]))


@pytest.mark.parametrize(("labels", "kind"), [([0, 0, 1, 1, 1], "wrong"), ([1, 1, 0, 0, 0], "right")])
def test_one_class_in_one_group_is_refused(labels, kind):
    groups = np.array(["a", "a", "b", "c", "d"])
    with pytest.raises(ReLopeError, match=f"all {kind} answers of the evaluated split are in one group") as error:
        evaluate(np.ones((1, 5)), np.array(labels), groups)
    assert "\n" not in str(error.value)
    evaluate(np.ones((1, 5)), np.array(labels))
