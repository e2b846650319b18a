"""95% intervals and p-values from a value and its variance, for AUCs and their differences."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import expit, logit, stdtrit

Z_95 = 1.959963984540054  # 97.5% quantile of the standard normal
TAIL = 0.025  # probability on each side of a 95% interval
FEW = 20  # with fewer units of the rarer class, intervals are only approximate
SAME = 1e-12  # values that differ by less count as equal; summation order changes float64 sums by less


class Units(NamedTuple):
    """Numbers of independent units (groups, or samples without groups): with a positive, with a negative, and in total;
    and the number of samples."""

    positive: int
    negative: int
    all: int
    samples: int

    @property
    def rarer(self) -> int:
        """Units of the rarer class."""
        return min(self.positive, self.negative)

    @property
    def pairs(self) -> int:
        """The largest number of disjoint pairs of units, one with a positive and the other with a negative."""
        return min(self.positive, self.negative, self.all // 2)


def count_units(labels: Int[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"] | None = None) -> Units:
    """Count the units of these samples.

    Args:
      groups: the group of every sample; without groups every sample is a unit.
    """
    positive = np.asarray(labels) == 1
    if groups is None:
        return Units(int(positive.sum()), int((~positive).sum()), len(positive), len(positive))
    groups = np.asarray(groups)
    of_positives, of_negatives, of_all = (len(np.unique(x)) for x in (groups[positive], groups[~positive], groups))
    return Units(of_positives, of_negatives, of_all, len(positive))


def auc_interval(
    value: Float[np.ndarray, "*m"], variance: Float[np.ndarray, "*m"], units: Units
) -> tuple[Float[np.ndarray, "*m"], Float[np.ndarray, "*m"]]:
    """95% interval of AUCs, or of mean AUCs of several routers on the same samples.

    The interval is symmetric on the logit scale. It uses Student's t with (units of the rarer class) - 1 degrees of
    freedom, because the normal quantile undercovers below about 40 units.

    An AUC of exactly 1 has variance 0. Its lower limit is the true AUC at which all of `units.pairs` independent pairs
    are ordered correctly with probability 2.5%. An AUC of exactly 0 is the mirror image. For any other AUC with
    variance 0 the width is 0: all scores are equal and the AUC is always 0.5. NaN if the variance is NaN.
    """
    value, variance = np.asarray(value, np.float64), np.asarray(variance, np.float64)
    perfect, inverted = value > 1 - SAME / 10, value < SAME / 10
    inside = np.where(perfect | inverted, np.nan, value)
    quantile = stdtrit(units.rarer - 1, 1 - TAIL) if units.rarer > 1 else np.nan
    half = quantile * np.sqrt(np.maximum(variance, 0.0)) / (inside * (1 - inside))
    reached = TAIL ** (1 / units.pairs) if units.pairs else np.nan
    low = np.where(perfect, reached, np.where(inverted, 0.0, expit(logit(inside) - half)))
    high = np.where(perfect, 1.0, np.where(inverted, 1 - reached, expit(logit(inside) + half)))
    return low, high


def two_sided_p(value: float, error: float) -> float:
    """P-value of "the true value is 0", from a value and its standard error.

    A value of 0 gives p = 1, whatever its error. Any other value with error 0 gives p = 0. NaN if either is NaN.
    """
    if abs(value) < SAME:
        return 1.0
    return 0.0 if error == 0 else math.erfc(abs(value) / error / math.sqrt(2))


def few_warning(units: Units) -> str | None:
    """A one-line warning if the rarer class has too few units for accurate intervals and p-values, else None."""
    if units.rarer >= FEW:
        return None
    kind = "right" if units.positive <= units.negative else "wrong"
    one = units.rarer == 1
    if units.all < units.samples:
        counted = f"group{'' if one else 's'} (images) of test questions {'has' if one else 'have'} a {kind} answer"
    else:
        counted = f"test answer{' is' if one else 's are'} {kind}"
    return (
        f"Only {units.rarer} {counted}, fewer than {FEW}: intervals and p-values of AUC are only approximate. Test on "
        "more questions."
    )
