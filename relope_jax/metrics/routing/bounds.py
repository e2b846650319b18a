"""Distribution-free tests and bounds for means on new data, at any sample size.

A unit is a query, or all the queries of one image together. Units must be exchangeable with those to come: nothing else
is assumed of scores or labels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.special import betainc

BOLDNESS = 0.75  # of the largest bet that cannot lose everything
MOST_UNITS = 2**22  # looked for in `units_needed`


def binomial_p(successes: int, trials: int, rate: float) -> float:
    """P-value of "the true rate is at most `rate`": P(Binomial(trials, rate) >= successes), exact.

    It is at most 5 % where the one-sided 95 % Clopper-Pearson bound reaches `rate`.
    """
    if successes <= 0:
        return 1.0
    return float(betainc(successes, trials - successes + 1, min(max(rate, 0.0), 1.0)))


def betting_p(values: Real[np.ndarray, "n"], mean: float, level: float) -> float:
    """P-value of "the true mean is at most `mean`" from independent values in [0, 1].

    A gambler who starts with 1 and bets on every value that it exceeds `mean` is expected to have at most 1 at any time
    if the statement is true, so that 1 over the most he ever had is a p-value (Ville). He bets as Waudby-Smith & Ramdas
    (2024) do, by the variance seen so far: the test is sharp where the values vary little. Values come in an order that
    is shuffled by a fixed seed, since what they are sorted by may say something about them.

    Args:
      level: where the p-value will be compared; it steers the bets, and the p-value holds at any.
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

    Exact binomial when every unit is one query and wins are 0 or 1; otherwise bets on units. A unit of u queries is
    worth ratio + (wins - ratio x counted) / largest, which lies in [0, 1], and whose mean is at most `ratio` exactly
    when the statement is true.

    Args:
      wins: in [0, 1], and 0 where not `counted`.
      units: which unit every query belongs to, 0..u-1.
      largest: no unit has more queries, seen or to come.
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
    """How many units a test needs to succeed if more come that are like these: these, each repeated as often.

    Args:
      p_of: p-value of the units of these numbers, which may repeat.
      worth: of every unit, so that a number that is no multiple of u takes a fair share of good and bad ones.

    Returns:
      About the smallest number; None when even 4 million are too few.
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
