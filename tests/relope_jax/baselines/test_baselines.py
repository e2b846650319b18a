"""Sanity rows are what they claim to be."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from relope_jax.baselines.question_only import question_only_scores
from relope_jax.baselines.sanity import oracle_scores, random_scores


def test_random_and_oracle():
    labels = np.random.default_rng(0).integers(0, 2, 5000)
    assert abs(roc_auc_score(labels, random_scores(5000, seed=1)) - 0.5) < 0.03
    assert not np.array_equal(random_scores(9, seed=1), random_scores(9, seed=2))
    assert roc_auc_score(labels, oracle_scores(labels)) == 1.0


def test_question_only_learns_the_question_type_and_nothing_else():
    """Labels depend on one word. A question with known words is ranked by it, whatever its image."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 400)
    questions = [f"is there a {'circle' if kind else 'square'}?" for kind in kinds]
    labels = (rng.uniform(size=400) < np.where(kinds == 1, 0.9, 0.5)).astype(int)
    scores = question_only_scores(questions, labels, ["is there a circle?", "is there a square?"])
    assert scores[0] > 0.8
    assert abs(scores[1] - 0.5) < 0.1
