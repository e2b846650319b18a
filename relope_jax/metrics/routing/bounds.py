"""Distribution-free tests and bounds for means on new data, at any sample size.

A unit is one query, or all queries about one image. The only assumption is that the units are exchangeable with future
ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.special import betainc

BOLDNESS = 0.75  # share of the largest bet that cannot lose everything
MOST_UNITS = 2**22  # upper limit in `units_needed`


def binomial_p(successes: int, trials: int, rate: float) -> float:
    """P-value of "the true rate is at most `rate`": P(Binomial(trials, rate) >= successes), exact.

    It is at most 5% if and only if the one-sided 95% Clopper-Pearson bound reaches `rate`.
    """
    if successes <= 0:
        return 1.0
    return float(betainc(successes, trials - successes + 1, min(max(rate, 0.0), 1.0)))


def betting_p(values: Real[np.ndarray, "n"], mean: float, level: float) -> float:
    """P-value of "the true mean is at most `mean`" from independent values in [0, 1].

    A gambler starts with wealth 1 and bets on every value that it exceeds `mean`. If the statement is true, the wealth
    is a nonnegative supermartingale, so 1 over its maximum is a p-value (Ville). The bets follow Waudby-Smith & Ramdas
    (2024) and use the variance seen so far, so the test is sharp for values with little variance. Values are shuffled
    with a fixed seed, because their order may be informative.

    Args:
      level: the level at which the p-value will be used. It tunes the bets; the p-value is valid at any level.
    """
    if mean < 0 or mean >= 1:
        return 0.0 if mean < 0 else 1.0
    x = np.random.default_rng(0).permutation(values)
    seen = np.arange(2, len(x) + 2)
    centre = (0.5 + np.cumsum(x)) / seen
    variance = (0.25 + np.cumsum((x - centre) ** 2)) / seen
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.minimum(np.sqrt(2 * np.log(1 / level) / (before * len(x))), BOLDNESS / max(mean, 1e-9))
    wealth = np.cumsum(np.log1p(bets * (x - mean)))
    return float(np.exp(-max(wealth.max(initial=0.0), 0.0)))


def ratio_p(
    wins: Float[np.ndarray, "n"],
    counted: Bool[np.ndarray, "n"] | Float[np.ndarray, "n"],
    ratio: float,
    units: Int[np.ndarray, "n"],
    largest: int,
    level: float,
) -> float:
    """P-value of "E[wins] / E[counted] is at most `ratio`", where both are summed over the queries of a unit.

    Exact binomial if every unit is one query and wins are 0 or 1; otherwise a betting test on units. The value of a
    unit is ratio + (wins - ratio x counted) / largest. It lies in [0, 1], and its mean is at most `ratio` exactly if
    the statement is true.

    Args:
      wins: in [0, 1], and 0 if not `counted`.
      units: the unit of every query, 0..u-1.
      largest: upper bound on the queries of any unit, present or future.
    """
    if ratio < 0:
        return 0.0
    if largest == 1 and np.isin(wins, (0.0, 1.0)).all():
        return binomial_p(int(wins.sum()), int(counted.sum()), ratio)
    excess = np.bincount(units, weights=wins - ratio * counted)
    return betting_p(np.clip(ratio + excess / largest, 0.0, 1.0), ratio, level)


def units_needed(
    p_of: Callable[[Int[np.ndarray, "k"]], float], worth: Float[np.ndarray, "u"], level: float
) -> int | None:
    """Number of units a test needs to succeed, if future units are repetitions of these.

    Args:
      p_of: p-value of the units with these indices, which may repeat.
      worth: value of every unit, so that a number that is not a multiple of u has a balanced mix of units.

    Returns:
      Approximately the smallest number; None if 4 million are too few.
    """
    order = np.argsort(worth, kind="stable")

    def enough(n: int) -> bool:
        return p_of(order[np.arange(n) * len(order) // n]) <= level

    high = len(order)
    while not enough(high):
        high *= 2
        if high > MOST_UNITS:
            return None
    low = high // 2
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
