"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: RoPE over three position axes (time, height, width)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch

from extract.backbone.families.family import (
    LLAMA_NORMS,
    QK_NORMS,
    DecoderLayer,
    Family,
    decoder_spec,
    require_fixed_rope,
)
from relope_jax.block.spec import BlockSpec

MERGE = 2  # all three merge 2x2 patches into one image token


def spec(family: str, layer: DecoderLayer) -> BlockSpec:
    """Llama's arithmetic with the frequencies split over three axes."""
    return dataclasses.replace(decoder_spec(family, layer), rope_axes=3)


def by_axis(layer: DecoderLayer, axis_of: torch.Tensor) -> torch.Tensor:
    """`[3, half]`: each frequency in the row of its axis, zeros elsewhere."""
    require_fixed_rope(layer.rope_type)
    inv_freq = layer.rotary.inv_freq
    return torch.stack([torch.where(axis_of.to(inv_freq.device) == axis, inv_freq, 0.0) for axis in range(3)])


def sections(layer: DecoderLayer) -> torch.Tensor:
    """Qwen2-VL and Qwen2.5-VL: first the frequencies for time, then height, then width."""
    lengths = torch.tensor(layer.config.rope_parameters["mrope_section"])
    return by_axis(layer, torch.arange(3).repeat_interleave(lengths))


def interleaved(layer: DecoderLayer) -> torch.Tensor:
    """Qwen3-VL: time, height, width, time, ... while height and width have frequencies left, then time."""
    axis_of = torch.zeros(layer.rotary.inv_freq.shape[0], dtype=torch.long)
    for axis in (1, 2):
        axis_of[axis : 3 * layer.rotary.mrope_section[axis] : 3] = axis
    return by_axis(layer, axis_of)


def image_grid(inputs: dict[str, Any], row: int, n_tokens: int) -> tuple[int, int]:
    """The grid of merged patches of the row's image."""
    _, height, width = inputs["image_grid_thw"][row].tolist()
    return height // MERGE, width // MERGE


QWEN2_VL = Family(
    name="qwen2_vl",
    layer_class="Qwen2VLDecoderLayer",
    spec=functools.partial(spec, "qwen2_vl"),
    frequencies=sections,
    image_grid=image_grid,
)
QWEN2_5_VL = dataclasses.replace(
    QWEN2_VL,
    name="qwen2_5_vl",
    layer_class="Qwen2_5_VLDecoderLayer",
    spec=functools.partial(spec, "qwen2_5_vl"),
)
QWEN3_VL = dataclasses.replace(
    QWEN2_VL,
    name="qwen3_vl",
    layer_class="Qwen3VLTextDecoderLayer",
    spec=functools.partial(spec, "qwen3_vl"),
    norms=LLAMA_NORMS | QK_NORMS,
    frequencies=interleaved,
)
