"""A model family: how its decoder layer maps to the block of `relope_jax.models`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from relope_jax.models.spec import BlockSpec

LLAMA_WEIGHTS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "input_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
}


@dataclasses.dataclass(frozen=True)
class Family:
    """One decoder-layer class of transformers.

    Attributes:
      layer_class: name of the class; a layer of any other class is refused.
      modules: `{our name: name of the module in the layer}`; every weight maps by exactly one entry.
      spec: the block's spec from the layer, the decoder's config and the rotary embedding.
      image_grid: (height, width) of the image tokens of one row of the processor's output.
    """

    name: str
    layer_class: str
    modules: dict[str, str]
    spec: Callable[[torch.nn.Module, Any, torch.nn.Module, int], BlockSpec]
    image_grid: Callable[[dict[str, Any], int, int], tuple[int, int]]


def decoder_spec(family: str, layer: torch.nn.Module, config: Any, rotary: torch.nn.Module, number: int) -> BlockSpec:
    """The spec of a Llama-like layer: RMSNorm, GQA, one-axis RoPE, gated MLP."""
    attention = layer.self_attn
    return BlockSpec(
        family=family,
        layer=number,
        hidden_size=config.hidden_size,
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        head_dim=attention.head_dim,
        intermediate_size=config.intermediate_size,
        norm_eps=config.rms_norm_eps,
        activation=config.hidden_act,
        attention_scale=attention.scaling,
        rope_scaling=rotary.attention_scaling,
    )


def square_grid(inputs: dict[str, Any], row: int, n_tokens: int) -> tuple[int, int]:
    """Grid of a vision tower with square images; (0, 0), no grid, when n is not a square."""
    side = round(n_tokens**0.5)
    return (side, side) if side * side == n_tokens else (0, 0)
