"""The classifier of the scorers that use a feature vector: logistic regression on standardised features."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from relope_jax.metrics.auc import auc
from relope_jax.states.statistics import Moments

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # sklearn's C, the inverse weight of the L2 penalty


def fitted_probability(
    features: Float[np.ndarray, "samples k"],
    labels: Int[np.ndarray, "samples"],
    rows: dict[str, Int[np.ndarray, "_"]],
) -> Float[np.ndarray, "samples"]:
    """P(Y = 1) of all samples, fitted on the training split with the penalty that has the best validation AUC.

    Scores of the training split are in-sample, as for every router here.
    """
    train, validation = rows["train"], rows["validation"]
    x = standardized(features, train)
    fits = [_fit(x[train], labels[train], strength) for strength in STRENGTHS]
    # Log-odds, because probabilities near 1 tie.
    logits = np.stack([fit.decision_function(x) for fit in fits])
    best = fits[int(np.argmax(auc(logits[:, validation], labels[validation])))]
    return best.predict_proba(x)[:, 1]


def standardized(
    features: Float[np.ndarray, "samples k"], train: Int[np.ndarray, "rows"]
) -> Float[np.ndarray, "samples k"]:
    """Features with mean 0 and deviation 1 on the training split; 0 if constant there, as for states."""
    x = features.astype(np.float64)
    mean = x[train].mean(axis=0)
    return (x - mean) * Moments(mean, x[train].std(axis=0)).inverse_std()


def _fit(x: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"], strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it then stops early, and validation decides
        return LogisticRegression(C=strength, max_iter=1000).fit(x, labels)
