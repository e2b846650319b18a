"""LoRA with PEFT's scale and initialisation, as two matrices per adapted projection."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from relope_jax.block.spec import AnyArray, BlockSpec, LoRASpec, projection_shape

Adapter = tuple[Float[AnyArray, "r fan_in"], Float[AnyArray, "fan_out r"]]  # A, and scale * B


class Setting(nnx.Variable):
    """A scalar setting that may differ between the members of an ensemble: dropout or LoRA scale."""


class LoRA(nnx.Module):
    """The adapter's parameters: A ~ U(-1/sqrt(fan_in), 1/sqrt(fan_in)) and B = 0, so training starts
    from the frozen block."""

    def __init__(self, spec: LoRASpec, block: BlockSpec, *, rngs: nnx.Rngs):
        self.targets = spec.targets
        a, b = {}, {}
        for name in spec.targets:
            fan_out, fan_in = projection_shape(block, name)
            bound = 1.0 / math.sqrt(fan_in)
            a[name] = nnx.Param(jax.random.uniform(rngs.params(), (spec.rank, fan_in), minval=-bound, maxval=bound))
            b[name] = nnx.Param(jnp.zeros((fan_out, spec.rank)))
        self.a, self.b = nnx.data(a), nnx.data(b)
        self.scale = Setting(jnp.asarray(spec.scale, jnp.float32))

    def adapters(self) -> dict[str, Adapter]:
        """`{projection: (A, scale * B)}`, the form the block consumes."""
        scale = self.scale.get_value()
        return {name: (self.a[name].get_value(), scale * self.b[name].get_value()) for name in self.targets}


def adapted(
    x: Float[Array, "... fan_in"],
    weight: Float[AnyArray, "fan_out fan_in"],
    bias: Float[AnyArray, "fan_out"] | None,
    adapter: Adapter | None,
) -> Float[Array, "... fan_out"]:
    """`x W^T + b + (x A^T) B^T`; B already includes the adapter's scale."""
    y = x @ weight.T
    if bias is not None:
        y = y + jnp.broadcast_to(bias, y.shape)
    if adapter is not None:
        a, b = adapter
        y = y + (x @ a.T) @ b.T
    return y
