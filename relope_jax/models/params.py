"""A frozen block on disk (safetensors; spec and module names as JSON in the file's metadata) and on the device."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from relope_jax.errors import ReLopeError
from relope_jax.models.block_spec import Block, BlockSpec


def save_block(path: Path, block: Block) -> None:
    """Write `block` to a safetensors file."""
    path.write_bytes(block_bytes(block))


def block_bytes(block: Block) -> bytes:
    """A block as a safetensors file, the same bytes for the same block."""
    record = json.dumps({"spec": dataclasses.asdict(block.spec), "modules": block.modules})
    weights = {name: np.ascontiguousarray(weight) for name, weight in block.weights.items()}  # it writes raw memory
    return save(weights, metadata={"block": record})  # one entry: safetensors writes several in random order


def load_block(path: Path) -> Block:
    """Read a block written by `save_block`; raises ReLopeError when the file is not one."""
    try:
        with safe_open(path, "numpy") as file:
            record = json.loads(file.metadata()["block"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        spec = BlockSpec(**record["spec"] | {"biases": tuple(record["spec"]["biases"])})
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise ReLopeError(f"{path} is not a decoder block dumped by this version: {error}") from error
    return Block(spec, weights, record["modules"])


def device_weights(block: Block) -> dict[str, Array]:
    """The block's weights in float32 on the default device."""
    return {name: jnp.asarray(weight, jnp.float32) for name, weight in block.weights.items()}
