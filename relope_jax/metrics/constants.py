"""Compares routers with the constant policies "always small" and "always large"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SAME = 1e-9  # accuracies and costs that differ by less are equal


class Operating(NamedTuple):
    """An operating point of a system: accuracy and, if prices are known, dollars per query."""

    accuracy: float
    cost: float | None = None


def best_operating_point(
    accuracy: Float[np.ndarray, "points"], cost: Float[np.ndarray, "points"] | None = None
) -> Operating:
    """The best point of a router's deferral curve, excluding its ends, which are the constants: the most accurate and,
    for equal accuracy, the cheapest (without costs: any)."""
    inside = accuracy[1:-1]
    if cost is None:
        return Operating(float(inside.max()))
    best = inside >= inside.max() - SAME
    return Operating(float(inside.max()), float(cost[1:-1][best].min()))


def constant_warning(routers: Mapping[str, Operating], constants: Mapping[str, Operating]) -> str | None:
    """A one-line warning if a constant ("always-small", "always-large") is at least as good as every router, else None.

    "At least as good" means more accurate, or as accurate and not more expensive (without costs: as accurate). If
    several constants qualify, the warning names the best.
    """
    winners = [name for name, constant in constants.items() if all(_holds(constant, r) for r in routers.values())]
    if not routers or not winners:
        return None
    name = max(winners, key=lambda winner: (constants[winner].accuracy, -(constants[winner].cost or 0.0)))
    rival = max(routers, key=lambda router: (routers[router].accuracy, -(routers[router].cost or 0.0)))
    return (
        f"a constant wins: {name} is right on {_text(constants[name])}, at least as good as every router "
        f"(the best, {rival}: {_text(routers[rival])})"
    )


def _holds(constant: Operating, router: Operating) -> bool:
    if abs(constant.accuracy - router.accuracy) > SAME:
        return constant.accuracy > router.accuracy
    if constant.cost is None or router.cost is None:
        return True
    return constant.cost <= router.cost + SAME * abs(router.cost)


def _text(point: Operating) -> str:
    price = "" if point.cost is None else f" for ${1000 * point.cost:.3g} per 1000 queries"
    return f"{point.accuracy:.1%}{price}"
