"""A frozen block on disk: safetensors, its spec as JSON in the file's metadata."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from relope_jax.errors import ReLopeError
from relope_jax.models.spec import Block, BlockSpec


def save_block(path: Path, block: Block) -> None:
    """Write `block` to a safetensors file."""
    save_file(block.weights, path, metadata={"spec": json.dumps(dataclasses.asdict(block.spec))})


def load_block(path: Path) -> Block:
    """Read a block written by `save_block`; raises ReLopeError when the file is not one."""
    try:
        with safe_open(path, "numpy") as file:
            raw = json.loads(file.metadata()["spec"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, FileNotFoundError) as error:
        raise ReLopeError(f"{path} is not a dumped decoder block: {error}") from error
    if raw["rope_sections"] is not None:
        raw["rope_sections"] = tuple(raw["rope_sections"])
    return Block(BlockSpec(**raw), weights)
