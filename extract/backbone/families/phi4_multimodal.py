"""Phi-4-multimodal: fused projections, partial rotary, longrope."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from extract.backbone.families.family import DecoderLayer, Family, as_given, decoder_spec, one_axis
from relope_jax.block.spec import BlockSpec

MODULES = {
    "q": "self_attn.qkv_proj",
    "k": "self_attn.qkv_proj",
    "v": "self_attn.qkv_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_up_proj",
    "up": "mlp.gate_up_proj",
    "down": "mlp.down_proj",
}


def spec(layer: DecoderLayer) -> BlockSpec:
    """Llama's arithmetic, with only the leading dimensions of a head rotated."""
    return dataclasses.replace(
        decoder_spec("phi4_multimodal", layer),
        rope_dim=2 * layer.rotary.inv_freq.shape[0],
        rope_axes=2 if _is_longrope(layer) else 1,
        window=layer.config.sliding_window,
    )


def frequencies(layer: DecoderLayer) -> torch.Tensor:
    """longrope has two sets of frequencies, for batches of short prompts and with long ones: one axis for each."""
    if not _is_longrope(layer):
        return one_axis(layer)
    longer = layer.config.rope_parameters["original_max_position_embeddings"] + 1
    long, _ = ROPE_INIT_FUNCTIONS["longrope"](layer.config, layer.rotary.inv_freq.device, seq_len=longer)
    return torch.stack([layer.rotary.original_inv_freq.to(long.device), long])


def positions(layer: DecoderLayer, position_ids: torch.Tensor) -> torch.Tensor:
    """The position on the axis whose frequencies this prefill used, and 0 on the other axis.

    transformers chooses by the longest prompt in the batch, so a prompt's own length does not decide.
    """
    ids = as_given(layer, position_ids)
    if not _is_longrope(layer):
        return ids
    short = torch.equal(layer.rotary.inv_freq, layer.rotary.original_inv_freq.to(layer.rotary.inv_freq.device))
    unused = torch.zeros_like(ids)
    return torch.cat([ids, unused] if short else [unused, ids])


def no_grid(inputs: dict[str, Any], row: int, n_tokens: int) -> tuple[int, int]:
    """Crops, separators and a thumbnail follow each other, so there is no single grid."""
    return 0, 0


def _is_longrope(layer: DecoderLayer) -> bool:
    return layer.rope_type == "longrope"


PHI4_MULTIMODAL = Family(
    name="phi4_multimodal",
    layer_class="Phi4MultimodalDecoderLayer",
    spec=spec,
    modules=MODULES,
    frequencies=frequencies,
    positions=positions,
    image_grid=no_grid,
)
