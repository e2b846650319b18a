"""Reference rows of every table: a random router and an oracle."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData


def random_scores(n: int, seed: int) -> Float[np.ndarray, "n"]:
    """Uniform scores: AUC 0.5 in expectation."""
    return np.random.default_rng(seed).uniform(size=n)


def oracle_scores(labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The labels themselves: AUC 1."""
    return labels.astype(np.float64)


def random_baseline(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return random_scores(len(data.labels), seed)


def oracle_baseline(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return oracle_scores(data.labels)
