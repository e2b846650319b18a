"""Paired differences between methods, with p-values corrected for multiple tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from relope_jax.metrics.intervals import Z_95, two_sided_p

SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """A metric of method `first` minus that of `second` on the same samples, with its 95% interval.

    Attributes:
      p: two-sided p-value of "the true difference is 0".
      p_holm: `p` adjusted for all tests made together (`adjusted`); equals `p` for a single test.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float

    @property
    def is_significant(self) -> bool:
        return self.p_holm < SIGNIFICANT

    @property
    def is_better(self) -> bool:
        """Whether `first` is significantly better than `second`."""
        return self.is_significant and self.difference > 0

    def flipped(self) -> PairedDifference:
        """`second` minus `first`."""
        return PairedDifference(self.second, self.first, -self.difference, -self.high, -self.low, self.p, self.p_holm)


def normal_difference(first: str, second: str, value: float, error: float) -> PairedDifference:
    """The test of a normally distributed difference, from its value and standard error."""
    p = two_sided_p(value, error)
    return PairedDifference(first, second, value, value - Z_95 * error, value + Z_95 * error, p, p)


def adjusted(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The same differences, with `p_holm` adjusted for all of them."""
    p_values = holm(np.array([found.p for found in differences]))
    return [dataclasses.replace(found, p_holm=float(p)) for found, p in zip(differences, p_values, strict=True)]


def holm(p: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """Holm's step-down adjusted p-values: the family-wise error rate at 0.05 is at most 5%.

    The i-th smallest of k (i = 1..k) becomes the largest of (k - j + 1) p_(j) over j <= i, at most 1. Valid under any
    dependence between the tests.

    Raises:
      ValueError: a p-value is not in [0, 1].
    """
    p = np.asarray(p, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be in [0, 1]")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
