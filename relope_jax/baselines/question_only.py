"""Blind router: logistic regression on a bag of words of the prompt, without the image and without hidden states.
A probe that does not beat it has learned only the question type."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData


def question_only_scores(
    train_prompts: list[str], train_labels: Int[np.ndarray, "n"], prompts: list[str]
) -> Float[np.ndarray, "m"]:
    """P(Y = 1) of `prompts` from word unigrams and bigrams; fitted on the training split."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
        LogisticRegression(max_iter=1000),
    )
    model.fit(train_prompts, train_labels)
    return model.predict_proba(prompts)[:, 1]


def question_only_baseline(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    """P(Y = 1) of every sample."""
    train = data.rows["train"]
    return question_only_scores([data.prompts[i] for i in train], data.labels[train], data.prompts)
