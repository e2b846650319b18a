"""Rows that every table needs to be read: a router that knows nothing and one that knows everything."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def random_scores(n: int, seed: int) -> Float[np.ndarray, "n"]:
    """Uniform scores: AUC 0.5 in expectation."""
    return np.random.default_rng(seed).uniform(size=n)


def oracle_scores(labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The labels themselves: AUC 1."""
    return labels.astype(np.float64)
