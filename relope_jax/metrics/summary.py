"""From seeds to methods: the mean AUC of a method's seeds, and paired tests between methods."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from relope_jax.metrics.auc import AUC, Z_95


class Estimate(NamedTuple):
    """A value with its 95 % interval; `p` (two-sided, paired) only for differences."""

    value: float
    low: float
    high: float
    p: float | None = None


def mean_auc(auc: AUC, methods: list[str], method: str) -> Estimate:
    """Mean AUC over a method's seeds. The interval is DeLong's for that mean: sampling of the test set,
    given these trained routers.

    Args:
      methods: the method of every row of `auc`.
    """
    value, error = _contrast(auc, weights_of(methods, method))
    return Estimate(value, max(0.0, value - Z_95 * error), min(1.0, value + Z_95 * error))


def auc_difference(auc: AUC, methods: list[str], first: str, second: str) -> Estimate:
    """Mean AUC of `first` minus that of `second` on the same samples (paired DeLong test, grouped as `auc` is)."""
    value, error = _contrast(auc, weights_of(methods, first) - weights_of(methods, second))
    p = math.erfc(abs(value) / error / math.sqrt(2)) if error > 0 else float(abs(value) < 1e-12)
    return Estimate(value, value - Z_95 * error, value + Z_95 * error, p)


def weights_of(methods: list[str], method: str) -> Float[np.ndarray, "m"]:
    """Weights of all rows that give the mean over a method's seeds."""
    mine = np.array([name == method for name in methods], np.float64)
    return mine / mine.sum()


def _contrast(auc: AUC, weights: Float[np.ndarray, "m"]) -> tuple[float, float]:
    variance = weights @ auc.covariance @ weights
    return float(weights @ auc.auc), math.sqrt(max(variance, 0.0))
