"""The annotations of the library are checked while tests run."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from relope_jax.block.lora import adapted
from relope_jax.metrics.auc import auc
from tests import contracts


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.zeros((2, 4)), np.zeros(5, int)),  # n is 4, then 5
        (np.zeros(4), np.zeros(4, int)),  # an axis is missing
        (np.zeros((2, 4)), np.zeros(4)),  # labels are integers
        ([[0.0, 1.0]], np.array([0, 1])),  # no array
    ],
)
def test_a_wrong_array_fails_at_the_call(scores, labels):
    with pytest.raises(contracts.Broken, match=r"relope_jax\.metrics\.auc\.auc"):
        auc(scores, labels)


def test_a_result_is_checked():
    """`fan_out` is 3 for the weight; an adapter whose product broadcasts to it would pass unseen."""
    x, weight = jnp.ones((2, 4)), jnp.ones((3, 4))
    adapter = jnp.ones((1, 4)), jnp.ones((1, 1))
    with pytest.raises(contracts.Broken, match=r"relope_jax\.block\.lora\.adapted"):
        adapted(x, weight, None, adapter)


def test_checks_can_be_ignored():
    with contracts.ignored():
        assert auc([[0.0, 1.0]], np.array([0, 1])) == 1.0
    with pytest.raises(contracts.Broken):
        auc([[0.0, 1.0]], np.array([0, 1]))
