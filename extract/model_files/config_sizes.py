"""Sizes that a model's config asks for, against the weights that are there: memory is taken by the config first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from relope_jax.errors import ReLopeError, first_line

COUNTS = {
    "num_hidden_layers", "num_layers", "depth", "num_experts", "num_local_experts", "n_routed_experts", "num_blocks",
}  # fmt: skip
SIDES = {
    "hidden_size", "vocab_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "embed_dim", "num_heads", "out_hidden_size", "d_model",
}  # fmt: skip
MOST, LARGEST = 10_000, 10**7  # parts where the weights are not there; a side of any weight
SLACK, PACKED = 2, 32  # a model may have parts that are not stored; quantised weights are several in one number


def require_sizes(config: Any, folder: Path) -> None:
    """Check the numbers of a config.json that become modules and weights.

    Raises:
      ReLopeError: one is not a whole number, counts more parts than the folder's weights have, or is out of bounds; or
        the weights cannot be read.
    """
    layers = _tensors_in(folder)
    for name, value in _numbers(config):
        bound = layers if name in COUNTS else LARGEST  # `require_weights` compares what they make together
        if value is None:  # the library's own default
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= bound:
            raise ReLopeError(f"{folder}/config.json: {name} is {value!r:.40}, which no model with its weights has")


def require_weights(auto: Any, folder: Path, options: dict[str, Any]) -> None:
    """Check that a model is about as large as its weights: what is not on disk would be filled with random numbers.

    Args:
      auto: the class of transformers that loads it.

    Raises:
      ReLopeError: it is not.
      Exception: whatever transformers raises of its config.
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
            f"{folder}: its config.json is that of a model with {wanted:,} weights, and its files hold {stored:,}"
        )


def _numbers_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return total


def largest_side(weights: Path) -> tuple[int, int]:
    """How many tensors a safetensors file has, and the largest side of any; raises what safetensors raises."""
    with safe_open(weights, framework="pt") as file:
        names = file.keys()
        shapes = [file.get_slice(name).get_shape() for name in names]
    return len(shapes), max((max(shape, default=0) for shape in shapes), default=0)


def _tensors_in(folder: Path) -> int:
    files = sorted(folder.glob("*.safetensors"))
    try:
        return sum(largest_side(file)[0] for file in files) if files else MOST
    except Exception as error:  # safetensors and the system say it in many ways
        raise ReLopeError(f"the weights in {folder} are damaged ({first_line(error)}): download them again") from error


def _numbers(config: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a config and the configs in it that are sizes."""
    for name, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif name in COUNTS | SIDES:
            yield name, value
