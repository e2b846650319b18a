"""Metrics of cost-accuracy curves (`relope_jax/metrics/routing/cost.py`).

`cost` and `accuracy` are `[m, p]`: p operating points of every router, in any order.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from relope_jax.metrics.routing.pgr import ROUNDING


def envelope(cost: Float[np.ndarray, "p"], accuracy: Float[np.ndarray, "p"]) -> Float[np.ndarray, "v 2"]:
    """Corners (cost, accuracy) of the non-decreasing concave envelope, from the cheapest operating point to the best.

    Points between two corners are reached by choosing randomly between two thresholds. Beyond the last corner, a higher
    cost gives no improvement.
    """
    corners: list[tuple[float, float]] = []
    for x, y in sorted(zip(cost.tolist(), accuracy.tolist(), strict=True), key=lambda point: (point[0], -point[1])):
        if corners and (x == corners[-1][0] or y <= corners[-1][1]):
            continue
        while len(corners) > 1 and _turns_up(corners[-2], corners[-1], (x, y)):
            corners.pop()
        corners.append((x, y))
    return np.array(corners)


def _turns_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def aiq(
    cost: Float[np.ndarray, "m p"], accuracy: Float[np.ndarray, "m p"], between: tuple[float, float] | None = None
) -> Float[np.ndarray, "m"]:
    """Average improvement in quality (RouterBench): area under each envelope over a range of costs, divided by its
    width.

    Args:
      between: the range, common to all routers; by default from the cheapest to the most expensive operating point of
        any router. Below its cheapest point, a router answers only the share of queries that the cost covers, so its
        accuracy falls linearly to 0 at cost 0. If the range is a single cost (all models are free, or equally
        expensive), the result is the height of the envelope there.

    Raises:
      ValueError: the range ends before it starts.
    """
    low, high = between or (float(cost.min()), float(cost.max()))
    if not low <= high:
        raise ValueError(f"the range of costs is empty: {low} to {high}")
    return np.array([_mean_height(envelope(*router), low, high) for router in zip(cost, accuracy, strict=True)])


def _mean_height(corners: Float[np.ndarray, "v 2"], low: float, high: float) -> float:
    x, y = (corners if corners[0, 0] <= 0 else np.concatenate([[(0.0, 0.0)], corners])).T
    if high - low <= ROUNDING * high:
        return float(np.interp(high, x, y))
    at = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    return float(np.trapezoid(np.interp(at, x, y), at) / (high - low))


def qnc(
    cost: Float[np.ndarray, "m p"],
    accuracy: Float[np.ndarray, "m p"],
    models: Float[np.ndarray, "k 2"],
) -> Float[np.ndarray, "m"]:
    """Query-normalised cost: the smallest cost at which a router is as accurate as the best single model, divided by
    that model's cost; infinite if it never is. Uses actual operating points, not the envelope.

    If the best model is free, the ratio is defined as 1 for a router that is as accurate at no cost, and as infinite
    for one that is not free.

    Args:
      models: (cost, accuracy) of every single model; for equal accuracy, the cheapest is the best.
    """
    best = models[:, 1].max()
    price = models[models[:, 1] >= best - ROUNDING, 0].min()
    reached = np.where(accuracy >= best - ROUNDING, cost, np.inf).min(axis=1)
    if price == 0:
        return np.where(reached <= ROUNDING * cost.max(), 1.0, np.inf)
    return reached / price
