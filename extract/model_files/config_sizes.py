"""Compares the sizes in a model's config with its weights, because memory is allocated by the config first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from relope_jax.errors import ReLopeError, first_line

COUNTS = {
    "num_hidden_layers",
    "num_layers",
    "depth",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_blocks",
}
SIDES = {
    "hidden_size",
    "vocab_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "embed_dim",
    "num_heads",
    "out_hidden_size",
    "d_model",
}
MOST, LARGEST = 10_000, 10**7  # parts if the weights are absent; side of any weight
SLACK, PACKED = 2, 32  # some parts are not stored; quantised weights are packed several to a number


def require_sizes(config: Any, folder: Path) -> None:
    """Check the numbers in a config.json that determine modules and weights.

    Raises:
      ReLopeError: a number is not whole, exceeds the number of parts in the folder's weights, or is out of bounds; or
        the weights cannot be read.
    """
    layers = _tensors_in(folder)
    for name, value in _numbers(config):
        bound = layers if name in COUNTS else LARGEST  # `require_weights` checks their product
        if value is None:  # the library's own default
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= bound:
            raise ReLopeError(f"{folder}/config.json: {name} is {value!r:.40}, which no model with its weights has")


def require_weights(auto: Any, folder: Path, options: dict[str, Any]) -> None:
    """Check that a model is about as large as its weights, because weights missing on disk would be random.

    Args:
      auto: the transformers class that loads it.

    Raises:
      ReLopeError: the sizes differ.
      Exception: whatever transformers raises for its config.
    """
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, **options)
    with torch.device("meta"):  # shapes only
        model = auto.from_config(config, trust_remote_code=options["trust_remote_code"])
    wanted, stored = sum(weight.numel() for weight in model.parameters()), _numbers_in(folder)
    packed = PACKED if getattr(config, "quantization_config", None) else 1
    if wanted > SLACK * packed * stored:
        raise ReLopeError(
            f"{folder}: its config.json describes a model with {wanted:,} weights, but its files hold {stored:,}"
        )


def _numbers_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return total


def largest_side(weights: Path) -> tuple[int, int]:
    """The number of tensors in a safetensors file and the largest side of any; raises what safetensors raises."""
    with safe_open(weights, framework="pt") as file:
        names = file.keys()
        shapes = [file.get_slice(name).get_shape() for name in names]
    return len(shapes), max((max(shape, default=0) for shape in shapes), default=0)


def _tensors_in(folder: Path) -> int:
    files = sorted(folder.glob("*.safetensors"))
    try:
        return sum(largest_side(file)[0] for file in files) if files else MOST
    except Exception as error:  # safetensors and the system raise many kinds
        raise ReLopeError(f"the weights in {folder} are damaged ({first_line(error)}): download them again") from error


def _numbers(config: Any) -> Iterator[tuple[str, Any]]:
    """The size fields of a config and of the configs nested in it."""
    for name, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif name in COUNTS | SIDES:
            yield name, value
