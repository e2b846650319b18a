"""Blind router: bag of words of the question, logistic regression. What routing without the image and
without hidden states reaches; a probe that does not beat it has learned the question type only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData


def question_only_scores(
    train_questions: list[str], train_labels: Int[np.ndarray, "n"], questions: list[str]
) -> Float[np.ndarray, "m"]:
    """P(Y = 1) of `questions` from word unigrams and bigrams, fitted on the training split."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
        LogisticRegression(max_iter=1000),
    )
    model.fit(train_questions, train_labels)
    return model.predict_proba(questions)[:, 1]


def question_only_baseline(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    """P(Y = 1) of every sample."""
    train = data.rows["train"]
    return question_only_scores([data.questions[i] for i in train], data.labels[train], data.questions)
