"""The closed form against the fit it replaces, RouteLLM's weighted logistic regression, on random and real data."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from relope_jax.baselines.sw_ranking import battle_outcomes, battle_weights, large_win_rate
from relope_jax.metrics.auc import auc_with_interval
from tests import SHARED

OUTCOMES = SHARED / "data/mmlu_outcomes/mmlu_outcomes.parquet"


def fitted_win_rate(similarities, small, large) -> float:
    """P(large wins) of one query as in RouteLLM: each battle twice, +-ln 10, a tie is one win each, no intercept."""
    weights = 10 * 10 ** (similarities / similarities.max())
    n = len(similarities)
    x = np.tile([math.log(10), -math.log(10)], (2 * n, 1))  # large against small in every row
    wins = np.where(large > small, 1, 0)
    y = np.concatenate([np.where(large == small, 1, wins), wins])
    # C this large means no penalty (2e-7 of a weight of 4e4); penalty=None is spelled differently in every sklearn.
    model = LogisticRegression(fit_intercept=False, C=1e12, tol=1e-10, max_iter=10_000)
    model.fit(x, y, sample_weight=np.concatenate([weights, weights]))
    ratings = 400 * model.coef_[0] + 1000
    return 1 / (1 + 10 ** ((ratings[1] - ratings[0]) / 400))


def test_closed_form_is_the_weighted_fit():
    rng = np.random.default_rng(0)
    battles, queries = rng.normal(size=(200, 6)) + 0.5, rng.normal(size=(5, 6))
    small, large = rng.integers(0, 2, 200), (rng.uniform(size=200) < 0.8).astype(int)
    got = large_win_rate(queries, 3 * battles, battle_outcomes(small, large))  # lengths do not matter
    unit = battles / np.linalg.norm(battles, axis=1, keepdims=True)
    for query, rate in zip(queries, got, strict=True):
        expected = fitted_win_rate(unit @ query / np.linalg.norm(query), small, large)
        assert rate == pytest.approx(expected, abs=1e-5)
    assert np.ptp(got) > 0.01


def test_outcomes_and_weights():
    assert battle_outcomes(np.array([1, 0, 0, 1]), np.array([0, 1, 0, 1])).tolist() == [0, 1, 0.5, 0.5]
    weights = battle_weights(np.array([[0.5, 0.25, -0.5], [-0.1, -0.2, -0.3]]))
    np.testing.assert_allclose(weights[0], [100, 10 * 10**0.5, 1])
    np.testing.assert_allclose(weights[1], 10)  # nothing is similar: all battles have equal weight


def test_rates_do_not_depend_on_the_chunks(monkeypatch):
    rng = np.random.default_rng(1)
    queries, battles, outcomes = rng.normal(size=(11, 4)), rng.normal(size=(30, 4)), rng.integers(0, 3, 30) / 2
    whole = large_win_rate(queries, battles, outcomes)
    monkeypatch.setattr("relope_jax.baselines.sw_ranking.CHUNK", 4)
    np.testing.assert_allclose(large_win_rate(queries, battles, outcomes), whole, rtol=1e-12)


@pytest.mark.skipif(not OUTCOMES.exists(), reason="shared/data is not next to this checkout")
def test_mixtral_and_gpt4_on_mmlu():
    """Real outcomes of a small and a large model: the fit again; the question's words inform the score slightly."""
    table = pq.read_table(OUTCOMES)
    rows = np.random.default_rng(0).permutation(len(table))[:3000]
    prompts = [table["prompt"][int(i)].as_py() for i in rows]
    small, large = (table[f"{name}_correct"].to_numpy()[rows].astype(int) for name in ("mixtral_8x7b", "gpt4_1106"))
    embeddings = TfidfVectorizer(sublinear_tf=True, max_features=4000).fit_transform(prompts).toarray()
    outcomes = battle_outcomes(small[:2000], large[:2000])
    rates = large_win_rate(embeddings[2000:], embeddings[:2000], outcomes)
    similarities = embeddings[2000:] @ embeddings[:2000].T  # rows already have length 1
    for i in (0, 1, 2, int(rates.argmax()), int(rates.argmin())):
        assert rates[i] == pytest.approx(fitted_win_rate(similarities[i], small[:2000], large[:2000]), abs=1e-5)
    assert outcomes.mean() == pytest.approx((1 + large[:2000].mean() - small[:2000].mean()) / 2)
    found = auc_with_interval(1 - rates[None], small[2000:])
    assert 0.5 < found.low[0] < found.auc[0] < 0.6
