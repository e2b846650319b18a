"""Proof on the user's own data that the re-expressed block is the model's block."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relope_jax.errors import ReLopeError
from relope_jax.models.batch import gather, padded_length, to_device
from relope_jax.models.block import last_token_block
from relope_jax.models.spec import Block
from relope_jax.states.ragged import TokenStates

# Allowed relative error of the block's update z_n^(l) - z_n^(l-1), which the residual stream would hide.
# float32 states differ by summation order only; bfloat16 states carry 8 bits of mantissa each.
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}


class Replay(NamedTuple):
    """Result of a replay: median relative error over samples, its limit, and how many were compared."""

    error: float
    tolerance: float
    n_samples: int


def replay_block(block: Block, states: TokenStates, max_samples: int = 64) -> Replay:
    """Recompute z_n^(l) from Z^(l-1) with the frozen block and compare with what PyTorch computed.

    Raises:
      ReLopeError: the two disagree, so training on this block would be meaningless.
    """
    chosen = np.linspace(0, len(states) - 1, min(max_samples, len(states))).astype(int)
    sample = states.select(chosen)
    rows = jnp.arange(len(sample), dtype=jnp.int32)
    batch = gather(to_device(sample), rows, padded_length(sample))
    weights = {name: jnp.asarray(w, jnp.float32) for name, w in block.weights.items()}
    with jax.default_matmul_precision("highest"):
        z = np.asarray(last_token_block(block.spec, weights, {}, batch))
    before = np.asarray(batch.hidden[:, -1])
    error = np.linalg.norm(z - sample.last_hidden, axis=1) / np.linalg.norm(sample.last_hidden - before, axis=1)
    result = Replay(float(np.median(error)), TOLERANCE[str(states.hidden.dtype)], len(sample))
    if not result.error <= result.tolerance:
        raise ReLopeError(
            f"replaying the frozen block l={block.spec.layer} gives another z_n than the model did "
            f"(relative error {result.error:.1e}, allowed {result.tolerance:.0e}): "
            "the store's block and states do not belong together; extract again"
        )
    return result
