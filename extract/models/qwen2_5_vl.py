"""Qwen2.5-VL: q/k/v biases, and RoPE over three position axes (time, height, width)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from extract.models.family import LLAMA_WEIGHTS, Family, decoder_spec
from relope_jax.errors import ReLopeError
from relope_jax.models.spec import BlockSpec

MERGE = 2  # Qwen2.5-VL merges 2x2 patches into one image token


def spec(layer: torch.nn.Module, config: Any, rotary: torch.nn.Module, number: int) -> BlockSpec:
    """Llama's arithmetic with the frequencies split over three axes."""
    if config.layer_types[number - 1] != "full_attention":
        raise ReLopeError(f"layer {number} of this Qwen2.5-VL uses a sliding window, which is not supported")
    plain = decoder_spec("qwen2_5_vl", layer, config, rotary, number)
    return dataclasses.replace(plain, rope_sections=tuple(config.rope_parameters["mrope_section"]))


def image_grid(inputs: dict[str, Any], row: int, n_tokens: int) -> tuple[int, int]:
    """Merged patch grid of the row's image."""
    _, height, width = inputs["image_grid_thw"][row].tolist()
    return height // MERGE, width // MERGE


QWEN2_5_VL = Family("qwen2_5_vl", "Qwen2_5_VLDecoderLayer", LLAMA_WEIGHTS, spec, image_grid)
