"""Verifies on the user's data that the JAX block equals the model's block."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import gather
from relope_jax.block.file import device_weights
from relope_jax.block.spec import Block
from relope_jax.errors import ReLopeError
from relope_jax.models.padding import padded_length, to_device
from relope_jax.precision import full_precision
from relope_jax.states.ragged import StateSource

# Allowed relative error of the block's update z_n^(l) - z_n^(l-1), which the residual stream would hide.
# float32 differs only by summation order; bfloat16 has 8 bits of mantissa, in the states or in the model.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}


class Replay(NamedTuple):
    """Result of a replay: median and largest relative error, the limit, and the number of compared samples."""

    median: float
    largest: float
    tolerance: float
    n_samples: int


def replay_block(block: Block, states: StateSource, model_dtype: str, max_samples: int = 64) -> Replay:
    """Recompute z_n^(l) from Z^(l-1) with the frozen block and compare with PyTorch's result.

    Every compared sample must agree, because an average would hide a damaged part of the store.

    Args:
      model_dtype: dtype of the PyTorch model, "float32", "bfloat16" or "float16".

    Raises:
      ReLopeError: the results differ, so training on this block would be meaningless.
    """
    chosen = np.linspace(0, len(states) - 1, min(max_samples, len(states))).astype(int)
    sample = states.select(chosen)
    rows = jnp.arange(len(sample), dtype=jnp.int32)
    batch = gather(to_device(sample), rows, padded_length(sample))
    weights = device_weights(block)
    with full_precision():
        z = np.asarray(last_token_block(block.spec, weights, {}, batch))
    before = np.asarray(batch.hidden[:, -1])
    error = np.linalg.norm(z - sample.last_hidden, axis=1) / np.linalg.norm(sample.last_hidden - before, axis=1)
    tolerance = max(TOLERANCE[str(sample.hidden.dtype)], TOLERANCE[model_dtype])
    worst = int(np.argmax(error))
    if not error[worst] <= tolerance:
        raise ReLopeError(
            f"replaying the frozen block l={block.spec.layer} gives a different z_n than the model "
            f"(row {chosen[worst]}: relative error {error[worst]:.1e}, allowed {tolerance:.0e}): "
            "the store's block and states do not belong together; delete the store and extract again"
        )
    return Replay(float(np.median(error)), float(error[worst]), tolerance, len(sample))
