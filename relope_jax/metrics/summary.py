"""Aggregates seeds: the mean AUC over a method's seeds, and paired tests between methods."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from relope_jax.metrics.auc import AUC
from relope_jax.metrics.intervals import auc_interval
from relope_jax.metrics.paired import PairedDifference, normal_difference


class Estimate(NamedTuple):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def mean_auc(auc: AUC, methods: list[str], method: str) -> Estimate:
    """Mean AUC over a method's seeds. The interval of this mean (`auc_interval`) covers sampling of the test set, given
    these trained routers.

    Args:
      methods: the method of every row of `auc`.
    """
    value, error = _contrast(auc, weights_of(methods, method))
    low, high = auc_interval(np.array(value), np.array(error**2), auc.units)
    return Estimate(value, float(low), float(high))


def mean_auc_error(auc: AUC, methods: list[str], method: str) -> float:
    """DeLong's standard error of a method's mean AUC. It cannot be recovered from the interval."""
    return _contrast(auc, weights_of(methods, method))[1]


def auc_difference(auc: AUC, methods: list[str], first: str, second: str) -> PairedDifference:
    """Mean AUC of `first` minus that of `second` on the same samples (paired DeLong test, grouped as `auc` is)."""
    value, error = _contrast(auc, weights_of(methods, first) - weights_of(methods, second))
    return normal_difference(first, second, value, error)


def weights_of(methods: list[str], method: str) -> Float[np.ndarray, "m"]:
    """Row weights for the mean over a method's seeds."""
    mine = np.array([name == method for name in methods], np.float64)
    return mine / mine.sum()


def _contrast(auc: AUC, weights: Real[np.ndarray, "m"]) -> tuple[float, float]:
    variance = weights @ auc.covariance @ weights
    return float(weights @ auc.auc), math.sqrt(max(variance, 0.0))
