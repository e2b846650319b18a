"""A frozen block on disk (safetensors, with spec and module names as JSON metadata) and on the device."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32
from safetensors.numpy import save

from relope_jax.block.spec import PROJECTIONS, Block, BlockSpec, require_shapes
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import parse_json, write_bytes
from relope_jax.io.tensors import TensorFile
from relope_jax.io.typed import is_of


def save_block(path: Path, block: Block) -> None:
    """Write `block` to a safetensors file."""
    write_bytes(path, block_bytes(block))


def block_bytes(block: Block) -> bytes:
    """A block as a safetensors file; the same block always gives the same bytes."""
    record = json.dumps({"spec": dataclasses.asdict(block.spec), "modules": block.modules})
    weights = {name: np.ascontiguousarray(weight) for name, weight in block.weights.items()}  # `save` writes raw memory
    return save(weights, metadata={"block": record})  # a single entry, since safetensors writes several in random order


def load_block(path: Path) -> Block:
    """Read a block written by `save_block`.

    Raises:
      ReLopeError: the file is not a block, is damaged, or its weights do not match its spec. All checks run before
        memory is allocated for the weights.
    """
    try:
        with TensorFile(path) as file:
            record = parse_json(file.metadata["block"], f"the spec in {path}")
            spec, modules = BlockSpec.parse(record["spec"]), record["modules"]
            if not is_of(modules, dict[str, str]) or not modules.keys() <= set(PROJECTIONS):
                raise ValueError("its modules are not keyed by projection")
            require_shapes(spec, file.shapes)
            return Block(spec, file.read(), modules)
    except (ReLopeError, ValueError, KeyError, TypeError, OSError) as error:
        line = first_line(error)
        raise ReLopeError(f"{path} is not a decoder block dumped by this version: {line}") from error


def device_weights(block: Block) -> dict[str, Float32[Array, "..."]]:
    """The block's weights in float32 on the default device."""
    return {name: jnp.asarray(weight, jnp.float32) for name, weight in block.weights.items()}
