"""95% intervals of an AUC cover it when few answers are wrong; simulations with known truth."""

from __future__ import annotations

import pytest

from tests.relope_jax.metrics.coverage import Case, coverage, few_wrong

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("auc", [0.6, 0.75, 0.9, 0.95])
@pytest.mark.parametrize(
    "shape",
    [
        {"group": 1, "shared": 0.0},
        {"group": 3, "shared": 0.5},
        {"group": 3, "shared": 0.8},
        {"questions": 60, "group": 2},
    ],
    ids=["single", "groups", "alike", "short"],
)
def test_from_15_wrong_answers_on_92_percent_are_covered(auc, shape):
    """But not all of them: an interval that covers everything is useless."""
    assert 0.92 <= coverage(Case(15, auc, **shape), draws=4000) <= 0.98


def test_few_wrong_answers():
    """5.5 of 100 on average."""
    found = few_wrong(0.8, draws=1500)
    assert 0.92 <= found.covered <= 0.99
    assert found.rejected < 0.1
