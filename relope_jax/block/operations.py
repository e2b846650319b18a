"""Lower bounds for a training step of the absorbed block: multiply-adds and bytes.

See docs/design/absorbed_block.md for the table of these counts.
"""

from __future__ import annotations

from typing import NamedTuple

from relope_jax.block.spec import PROJECTIONS, BlockSpec, projection_shape


class Work(NamedTuple):
    """Lower bounds for one step: floating-point operations (two per multiply-add) and bytes moved."""

    flops: float
    bytes: float

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Minimum time of a step on hardware with these peak rates."""
        return max(self.flops / flops_per_second, self.bytes / bytes_per_second)


def step_work(spec: BlockSpec, rank: int, batch: int, n: float, state_bytes: int) -> Work:
    """Forward and backward of the block with LoRA on all seven projections, frozen keys cached.

    Args:
      batch: prompts per step.
      n: average tokens per prompt.
      state_bytes: bytes of one entry of Z^(l-1); weights, keys and adapters are float32.
    """
    d, kv, heads, dim = spec.hidden_size, spec.n_kv_heads * spec.head_dim, spec.n_heads, spec.head_dim
    tokens = batch * n
    # LoRA on k, forward and its gradients: with A then B, or with their product.
    every_token = min(2 * d * rank + 3 * rank * kv, 2 * d * kv)
    every_token += 2 * d * heads  # pooling, and the gradient of the attention weights
    every_token += 3 * heads * dim  # scores, and the gradients of q and k
    last_token = sum(_projection(spec, name, rank) for name in ("q", "o", "gate", "up", "down"))
    last_token += 2 * heads * d * dim + 3 * heads * rank * (d + dim)  # W_v on H pooled states, and its LoRA
    flops = 2.0 * (tokens * every_token + batch * last_token)

    shapes = [projection_shape(spec, name) for name in PROJECTIONS]
    frozen = sum(out * into for out, into in shapes) - kv * d  # W_k is in the cached keys
    adapters = sum(rank * (out + into) for out, into in shapes)
    # Read states and keys once, frozen weights forward and backward, and adapters; write gradients.
    return Work(flops, tokens * (d * state_bytes + 4 * (kv + 1)) + 4.0 * (2 * frozen + 2 * adapters))


def _projection(spec: BlockSpec, name: str, rank: int) -> int:
    """Multiply-adds per row: W forward and backward; A and B forward, backward and their own gradients."""
    out, into = projection_shape(spec, name)
    backward_to_input = 0 if name == "q" else 1  # no parameter before q needs a gradient
    return (1 + backward_to_input) * out * into + rank * (3 * out + (2 + backward_to_input) * into)
