"""The warning that a constant policy is at least as good as every router."""

from __future__ import annotations

import numpy as np
import pytest

from relope_jax.metrics.constants import Operating, best_operating_point, constant_warning

SMALL, LARGE = Operating(0.6, 1e-5), Operating(0.8, 1e-4)


@pytest.mark.parametrize(
    ("router", "winner"),
    [
        (Operating(0.81, 2e-4), None),  # more accurate, at any cost
        (Operating(0.8, 0.9e-4), None),  # as accurate and cheaper
        (Operating(0.8, 1e-4), "always-large"),
        (Operating(0.8, 2e-4), "always-large"),
        (Operating(0.79, 1e-6), "always-large"),
        (Operating(0.8), "always-large"),
    ],
)
def test_one_router(router, winner):
    line = constant_warning({"probe": router}, {"always-small": SMALL, "always-large": LARGE})
    assert (line is None) == (winner is None)
    if winner:
        assert line.startswith(f"a constant wins: {winner} is right on 80.0% for $0.1 per 1000 queries")
        assert "probe" in line
        assert "\n" not in line


def test_one_good_router_is_enough():
    routers = {"probe": Operating(0.5), "relope": Operating(0.85)}
    assert constant_warning(routers, {"always-large": LARGE}) is None
    assert constant_warning({"probe": Operating(0.5)}, {"always-large": LARGE}) is not None
    assert constant_warning({}, {"always-large": LARGE}) is None


def test_the_best_constant_and_the_best_router_are_named():
    routers = {"probe": Operating(0.5), "relope": Operating(0.55)}
    line = constant_warning(routers, {"always-small": SMALL, "always-large": LARGE, "as good": Operating(0.8, 2e-4)})
    assert "always-large is right" in line
    assert "(the best, relope: 55.0%)" in line


def test_the_ends_of_a_curve_are_no_routers_points():
    """A router always reaches the large model by deferring everything, which is the constant."""
    accuracy = np.array([0.9, 0.7, 0.8, 0.8, 0.95])
    assert best_operating_point(accuracy) == (0.8, None)
    assert best_operating_point(accuracy, np.array([1.0, 2, 3, 4, 5])) == (0.8, 3.0)
