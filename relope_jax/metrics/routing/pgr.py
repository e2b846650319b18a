"""The deferral curve of a router, and its metrics. They need the large model's answers.

Every function of `curve` takes the result of `deferral_curve`: `[m, n+1]`, accuracy at shares k/n of deferred queries.
The first column is always the small model's accuracy and the last the large model's.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Real

from relope_jax.metrics.routing.deferral import risk_coverage, sums_of_lowest

ROUNDING = 1e-9  # accuracies differ by 1/n or not at all


def deferral_curve(
    scores: Real[np.ndarray, "m n"], small: Int[np.ndarray, "n"], large: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "m n+1"]:
    """Accuracy a(k/n) when the k lowest scores go to the large model, k = 0..n.

    For tied scores it is the expectation over a random order.

    Args:
      small, large: whether each model is right.

    Raises:
      ValueError: a score is not finite.
    """
    gain = np.asarray(large, np.float64) - np.asarray(small, np.float64)
    return (np.sum(small) + sums_of_lowest(scores, gain)) / len(gain)


def pgr(curve: Float[np.ndarray, "m points"]) -> Float[np.ndarray, "m points"]:
    """Performance gap recovered: (a(r) - a_small) / (a_large - a_small); NaN if both models are equally good.

    If the large model is worse, the gap is negative; 1 still means "equal to the large model".
    """
    gap = curve[:, -1:] - curve[:, :1]
    return (curve - curve[:, :1]) / np.where(np.abs(gap) < ROUNDING, np.nan, gap)


def audc(curve: Float[np.ndarray, "m points"]) -> Float[np.ndarray, "m"]:
    """Area under the deferral curve: the integral of a(r) over r from 0 to 1, by trapezoids.

    This is the average accuracy over all shares. Between k/n and (k+1)/n the curve is linear: one query is deferred
    with some probability. The trapezoids are therefore exact, and duplicating every question changes nothing.
    """
    return np.trapezoid(curve, axis=1) / (curve.shape[1] - 1)


def apgr(curve: Float[np.ndarray, "m points"]) -> Float[np.ndarray, "m"]:
    """Average PGR: its integral over r from 0 to 1, (audc - a_small) / (a_large - a_small); a random router has 0.5.

    NaN if both models are equally good.
    """
    return np.trapezoid(pgr(curve), axis=1) / (curve.shape[1] - 1)


def cpt(curve: Float[np.ndarray, "m points"], recovered: float) -> Float[np.ndarray, "m"]:
    """Call-performance threshold: the smallest share r = k/n with PGR(r) >= `recovered` (CPT(50%): 0.5).

    It is the first crossing of the curve, without interpolation; the curve may fall below it again. NaN if no share
    reaches it, or if both models are equally good.
    """
    reached = pgr(curve) >= recovered - ROUNDING
    return np.where(reached.any(axis=1), reached.argmax(axis=1) / (curve.shape[1] - 1), np.nan)


def prr(scores: Real[np.ndarray, "m n"], labels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    """Prediction rejection ratio: (A - A_random) / (A_oracle - A_random).

    A is the accuracy of the kept answers, averaged over k = 0..n-1 rejections of the lowest scores. Random rejection
    has the base accuracy at every k; the oracle rejects all wrong answers first. NaN for a single class.
    """
    n, right = len(labels), int(np.sum(labels))
    if right in (0, n):
        return np.full(len(scores), np.nan)
    oracle = np.mean(np.minimum(1.0, right / np.arange(1, n + 1)))
    return (1 - risk_coverage(scores, labels).mean(axis=1) - right / n) / (oracle - right / n)
