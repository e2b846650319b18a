"""Many tests at once: p-values that stay honest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def holm(p: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """Holm's step-down adjusted p-values: calling those below 0.05 significant makes any false call with at most 5 %.

    The i-th smallest of k (i = 1..k) becomes the largest of (k - j + 1) p_(j) over j <= i, at most 1. Holds however
    the tests depend on each other.

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
