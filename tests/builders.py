"""Small random blocks and states for tests."""

from __future__ import annotations

import jax
import numpy as np

from relope_jax.block.absorbed import last_token_block
from relope_jax.block.reference import last_token_block_reference
from relope_jax.block.spec import Block, BlockSpec, projection_shape, weight_shapes
from relope_jax.states.ragged import TokenStates

# Without jit, JAX compiles every operation on its own, which takes far longer than one program.
compiled_block = jax.jit(last_token_block, static_argnums=0)
compiled_reference = jax.jit(last_token_block_reference, static_argnums=0)


def make_spec(**changes) -> BlockSpec:
    values = {
        "family": "llama", "layer": 2, "hidden_size": 16, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8,
        "intermediate_size": 24, "norm_eps": 1e-5, "activation": "silu", "attention_scale": 8**-0.5, "rope_dim": 8,
    }  # fmt: skip
    return BlockSpec(**values | changes)


def make_block(rng: np.random.Generator, spec: BlockSpec | None = None) -> Block:
    spec = spec or make_spec()
    weights = {}
    for name, shape in weight_shapes(spec).items():
        if name.endswith(".weight"):
            weight = rng.normal(size=shape) / np.sqrt(shape[1])
        elif name.endswith(".bias"):
            weight = rng.normal(size=shape)
        elif name == "frequencies":
            weight = np.broadcast_to(100.0 ** -np.linspace(0, 1, shape[1]), shape)
        else:
            weight = rng.uniform(0.5, 1.5, shape)
        weights[name] = weight.astype(np.float32)
    return Block(spec, weights)


def make_states(rng: np.random.Generator, lengths, d: int = 16, axes: int = 1) -> TokenStates:
    lengths = np.asarray(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.concatenate([np.arange(n) for n in lengths])[:, None].repeat(axes, axis=1).astype(np.int32)
    positions[:, 1:] += rng.integers(0, 5, (len(positions), axes - 1), dtype=np.int32)
    return TokenStates(
        hidden=rng.normal(size=(offsets[-1], d)).astype(np.float32),
        positions=positions,
        offsets=offsets,
        last_hidden=rng.normal(size=(len(lengths), d)).astype(np.float32),
    )


def make_adapters(rng: np.random.Generator, spec: BlockSpec, targets, rank: int = 3) -> dict:
    adapters = {}
    for name in targets:
        fan_out, fan_in = projection_shape(spec, name)
        a, b = rng.normal(size=(rank, fan_in)), rng.normal(size=(fan_out, rank))
        adapters[name] = ((a / np.sqrt(fan_in)).astype(np.float32), (0.3 * b).astype(np.float32))
    return adapters
