"""The classifier of the scorers that are fitted on a feature vector: logistic regression on standardised features."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from relope_jax.metrics.auc import auc

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of sklearn's C, the inverse weight of the L2 penalty


def fitted_probability(
    features: Float[np.ndarray, "samples k"],
    labels: Int[np.ndarray, "samples"],
    rows: dict[str, Int[np.ndarray, "rows"]],
) -> Float[np.ndarray, "samples"]:
    """P(Y = 1) of all samples, fitted on the training split; the penalty is the one with the best validation AUC.

    Scores of the training split are in-sample, as those of every router here.
    """
    train, validation = rows["train"], rows["validation"]
    best, best_auc = np.zeros(len(features)), -1.0
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # then it is stopped early, and validation decides
            model.fit(features[train], labels[train])
        scores = model.predict_proba(features)[:, 1]
        reached = float(auc(scores[None, validation], labels[validation])[0])
        if reached > best_auc:
            best, best_auc = scores, reached
    return best
