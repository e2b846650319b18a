"""LoRA follows PEFT's conventions."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx

from relope_jax.block.lora import LoRA
from relope_jax.block.spec import LoRASpec
from relope_jax.errors import ReLopeError
from tests.builders import make_spec


def test_initialisation_is_pefts():
    """A ~ U(-1/sqrt(fan_in), 1/sqrt(fan_in)) fills its range; B = 0."""
    lora = LoRA(LoRASpec(rank=128), make_spec(hidden_size=64), rngs=nnx.Rngs(params=0))
    a, b = np.asarray(lora.a["q"].get_value()), np.asarray(lora.b["q"].get_value())
    bound = 1 / 8
    assert np.abs(a).max() <= bound
    assert np.abs(a).max() > 0.99 * bound
    assert a.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert np.all(b == 0.0)


def test_scale():
    assert LoRASpec(rank=128, alpha=256.0).scale == 2.0
    assert LoRASpec(rank=64, alpha=16.0, rslora=True).scale == 2.0


def test_unknown_target_is_an_error():
    with pytest.raises(ReLopeError, match=r"lora.targets is 'gates' .did you mean 'gate'"):
        LoRASpec(targets=("q", "gates"))
