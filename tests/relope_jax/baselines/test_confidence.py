"""Token confidence, votes, stated probabilities and fitted scorers, compared with values computed by hand."""

from __future__ import annotations

import types

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from relope_jax.baselines.classifier import STRENGTHS, fitted_probability, standardized
from relope_jax.baselines.mixture_of_thought import majority, verify, vote_share
from relope_jax.baselines.token_confidence import (
    ALPHAS,
    chow_average,
    chow_quantile_scores,
    chow_quantiles,
    chow_sum,
    first_token_entropy_scores,
)
from relope_jax.baselines.token_quantiles import quantile_features
from relope_jax.baselines.verbalised import stated_probability
from relope_jax.methods import METHODS, READS, Baseline, needs_of
from tests import contracts

LOGPROBS = [np.log([0.5, 0.25, 0.5], dtype=np.float32), np.log([0.9], dtype=np.float32)]


def test_chow_by_hand():
    np.testing.assert_allclose(chow_sum(LOGPROBS), [0.0625, 0.9], rtol=1e-6)
    np.testing.assert_allclose(chow_average(LOGPROBS), [0.0625 ** (1 / 3), 0.9], rtol=1e-6)
    # Sorted: 1/4, 1/2, 1/2. The 0.25-quantile is halfway between the first two, in logarithms.
    got = np.exp(chow_quantiles(LOGPROBS, (0.0, 0.25, 0.5, 1.0)))
    np.testing.assert_allclose(got, [[0.25, 0.125**0.5, 0.5, 0.5], [0.9] * 4], rtol=1e-6)


def test_long_answers_keep_their_order():
    """400 tokens: their float32 products would be 0."""
    rows = [np.full(400, level, np.float32) for level in (-1.0, -1.1, -1.2)]
    assert (np.diff(chow_sum(rows)) < 0).all()


def test_quantile_is_chosen_on_the_validation_split():
    """Only the least certain token is informative: alpha 0 wins, although the test split says the opposite."""
    rng = np.random.default_rng(0)
    rows = {"validation": np.arange(200), "test": np.arange(200, 400)}
    labels = rng.integers(0, 2, 400)
    tells = np.where(np.arange(400) < 200, labels, 1 - labels)
    logprobs = []
    for value in tells:
        row = -rng.uniform(0, 1, 30).astype(np.float32)
        row[rng.integers(30)] = -1.5 if value else -3.0
        logprobs.append(row)
    data, inputs = types.SimpleNamespace(rows=rows, labels=labels), types.SimpleNamespace(token_logprobs=logprobs)
    with contracts.ignored():  # stand-ins with only what the method reads
        scores = chow_quantile_scores(data, inputs, 0)
    np.testing.assert_array_equal(scores, np.exp(chow_quantiles(logprobs, ALPHAS)[:, 0]))
    assert roc_auc_score(labels[:200], scores[:200]) == 1.0


def test_entropy_is_a_confidence():
    inputs = types.SimpleNamespace(first_token_entropy=np.array([0.0, 0.7, 3.0]))
    with contracts.ignored():  # it reads nothing else
        scores = first_token_entropy_scores(None, inputs, 0)
    np.testing.assert_allclose(scores, [1.0, np.exp(-0.7), np.exp(-3.0)])


def test_quantile_features_by_hand():
    features = quantile_features(LOGPROBS)
    assert features.shape == (2, 14)
    np.testing.assert_allclose(features[0, [0, 5, 10]], np.log([0.25, 0.5, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(features[0, 11:], [np.log(0.0625) / 3, np.log(0.0625), np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(features[1], [np.log(0.9)] * 13 + [0.0], rtol=1e-6)


def test_vote_share_by_hand():
    greedy = ["red", "red", "", "red"]
    direct = [["red", "red"], ["blue", "red"], ["", ""], ["", "blue"]]
    steps = [["red", "red"], ["", "blue"], ["", "red"], ["green", "blue"]]
    assert vote_share(greedy, direct, steps).tolist() == [1.0, 0.25, 0.0, 0.0]


def test_verification_by_hand():
    assert majority(["a", "b", "b"]) == "b"
    assert majority(["b", "a", "a", "b"]) == "b"  # sampled first
    assert majority(["", "", "a"]) == "a"
    assert majority(["", ""]) == ""
    greedy = ["red", "red", "red", "red", "red"]
    direct = [["red", "red"], ["red", "blue"], ["red", "red"], ["blue", "blue"], ["", ""]]
    steps = [["red", "red"], ["red", "red"], ["blue", "blue"], ["blue", "blue"], ["", ""]]
    scores = verify(greedy, direct, steps)
    #                accepted  accepted    not       accepted  nothing to accept
    np.testing.assert_allclose(scores, [(1 + 1) / 2, (1 + 0.75) / 2, 0.5 / 2, 0.5, 0.0])


def test_every_accepted_question_is_above_every_other():
    rng = np.random.default_rng(0)
    words = np.array(["", "a", "b", "c"])
    greedy = words[rng.integers(0, 4, 500)].tolist()
    direct, steps = (words[rng.integers(0, 4, (500, 3))].tolist() for _ in range(2))
    scores = verify(greedy, direct, steps)
    accepted = np.array([majority(a) == majority(b) != "" for a, b in zip(direct, steps, strict=True)])
    assert scores[accepted].min() >= 0.5 > scores[~accepted].max()
    shares = vote_share(greedy, direct, steps)
    np.testing.assert_allclose(np.argsort(scores[accepted], kind="stable"), np.argsort(shares[accepted], kind="stable"))


def test_stated_percentages():
    assert stated_probability(["85", "0", "100", "", "12.5"]).tolist() == [0.85, 0.0, 1.0, 0.5, 0.125]


def test_fitted_scorer_learns_and_validation_chooses():
    """A few informative dimensions among many: the result is the fit with the penalty of the best validation AUC."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(900, 80)) * rng.uniform(0.1, 50, 80), np.zeros(80)
    w[:6] = 1.0
    labels = (rng.uniform(size=900) < 1 / (1 + np.exp(-(x / x.std(axis=0)) @ w))).astype(int)
    rows = {"train": np.arange(200), "validation": np.arange(200, 600), "test": np.arange(600, 900)}
    scores = fitted_probability(x, labels, rows)
    train, validation, test = rows.values()
    z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    fits = [LogisticRegression(C=c, max_iter=1000).fit(z[train], labels[train]) for c in STRENGTHS]
    by_validation = [roc_auc_score(labels[validation], fit.predict_proba(z[validation])[:, 1]) for fit in fits]
    best = fits[int(np.argmax(by_validation))]
    np.testing.assert_allclose(scores, best.predict_proba(z)[:, 1], atol=1e-4)
    assert roc_auc_score(labels[test], scores[test]) > 0.75
    assert 0 < np.argmax(by_validation) < len(STRENGTHS) - 1


def test_registry_says_what_methods_read_and_need():
    assert all(method.reads in READS for method in METHODS.values())
    assert METHODS["relope"].reads == METHODS["first_token_entropy"].reads == "prefill"
    assert METHODS["post_hoc_embed"].reads == METHODS["cascade"].reads == "answer"
    assert needs_of([METHODS[name] for name in ("probe", "mot_vote", "mot_verify", "sw_ranking", "cascade")]) == (
        "samples",
        "large",
        "embeddings",
    )
    assert {name for name, method in METHODS.items() if not isinstance(method, Baseline)} == {
        "relope",
        "attention_probe",
        "probe",
        "post_hoc_embed",
    }


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reads == "verbalised"])
def test_only_a_stated_confidence_needs_one(name):
    assert METHODS[name].needs == ("confidence",)


def test_a_feature_that_is_constant_in_training_says_nothing():
    """The most certain token of a long answer is always near 0; that of one short answer must not dominate."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    x = np.stack([labels + rng.normal(size=300), -1e-7 * rng.random(300), np.full(300, 2.0)], axis=1)
    rows = {"train": np.arange(150), "validation": np.arange(150, 250), "test": np.arange(250, 300)}
    before = fitted_probability(x, labels, rows)
    x[260:, 1:] -= 0.5
    np.testing.assert_array_equal(fitted_probability(x, labels, rows), before)


def test_the_penalty_is_chosen_by_log_odds():
    """With a weak penalty the model fits noise and ranks the validation split perfectly, but all its probabilities are
    1 in float64."""
    rng = np.random.default_rng(0)
    labels, noise = np.tile([0, 1], 200), 3 * rng.normal(size=400)
    x = np.stack([labels + 0.2 * rng.normal(size=400) + noise, noise], axis=1)
    rows = {"train": np.arange(100), "validation": np.arange(100, 400), "test": np.arange(100, 400)}
    x[100:, 0] += 400  # everything far on the side of right answers
    scores = fitted_probability(x, labels, rows)
    z = standardized(x, rows["train"])
    fits = [LogisticRegression(C=c, max_iter=1000).fit(z[:100], labels[:100]) for c in STRENGTHS]
    by_log_odds = [roc_auc_score(labels[100:], fit.decision_function(z[100:])) for fit in fits]
    by_probability = [roc_auc_score(labels[100:], fit.predict_proba(z[100:])[:, 1]) for fit in fits]
    best = int(np.argmax(by_log_odds))
    assert best != int(np.argmax(by_probability))
    np.testing.assert_array_equal(scores, fits[best].predict_proba(z)[:, 1])


@pytest.mark.parametrize("level", [-1e-17, -800.0])
def test_the_quantile_is_chosen_by_log_probabilities(level):
    """exp is 1 for all of the first and 0 for all of the second, where all alphas would tie."""
    labels = np.tile([0, 1], 50)
    # The least certain token predicts the label, the most certain one its opposite.
    logprobs = [np.array([(3.0 - y) * level, (1.0 + 0.5 * y) * level]) for y in labels]
    logprobs = [np.sort(row) for row in logprobs]
    rows = {"validation": np.arange(60), "test": np.arange(60, 100)}
    data, inputs = types.SimpleNamespace(rows=rows, labels=labels), types.SimpleNamespace(token_logprobs=logprobs)
    with contracts.ignored():  # stand-ins with only what the method reads
        scores = chow_quantile_scores(data, inputs, 0)
    np.testing.assert_array_equal(scores, np.exp(chow_quantiles(logprobs, ALPHAS)[:, 0]))
