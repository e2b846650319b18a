"""A model family: how its decoder layer maps to the block of `relope_jax.models`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from relope_jax.block.spec import BlockSpec
from relope_jax.errors import ReLopeError

LLAMA_MODULES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
LLAMA_NORMS = {"input_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
QK_NORMS = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}


@dataclasses.dataclass(frozen=True)
class DecoderLayer:
    """Decoder layer l of a loaded model, and what its arithmetic depends on."""

    module: Any  # a torch.nn.Module with the attributes of its class in transformers
    config: Any  # of the text decoder
    rotary: Any  # the text decoder's rotary embedding
    number: int  # l, 1-based

    @property
    def kind(self) -> str:
        """The layer's type in the config: "full_attention" or "sliding_attention"."""
        kinds = getattr(self.config, "layer_types", None)
        return kinds[self.number - 1] if kinds else "full_attention"

    @property
    def rope_type(self) -> str:
        kinds = self.rotary.rope_type
        return kinds[self.kind] if isinstance(kinds, dict) else kinds

    def rope(self, name: str) -> Any:
        """`inv_freq` or `attention_scaling`; one per layer type in models whose layer types rotate differently."""
        of_kind = f"{self.kind}_{name}"
        return getattr(self.rotary, of_kind if hasattr(self.rotary, of_kind) else name)

    @property
    def window(self) -> int | None:
        """Window of a sliding layer, for models whose config lists the sliding layers."""
        return self.config.sliding_window if self.kind == "sliding_attention" else None


def decoder_spec(family: str, layer: DecoderLayer) -> BlockSpec:
    """The spec of a Llama-like layer. Families override what differs."""
    config, attention = layer.config, layer.module.self_attn
    return BlockSpec(
        family=family,
        layer=layer.number,
        hidden_size=config.hidden_size,
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        head_dim=attention.head_dim,
        intermediate_size=config.intermediate_size,
        norm_eps=config.rms_norm_eps,
        activation=config.hidden_activation if hasattr(config, "hidden_activation") else config.hidden_act,
        attention_scale=attention.scaling,
        rope_dim=attention.head_dim,
        rope_scaling=layer.rope("attention_scaling"),
        window=layer.window,
    )


def one_axis(layer: DecoderLayer) -> torch.Tensor:
    """RoPE frequencies `[1, half]` of a model with one position id per token."""
    require_fixed_rope(layer.rope_type)
    return layer.rope("inv_freq")[None]


def as_given(layer: DecoderLayer, position_ids: torch.Tensor) -> torch.Tensor:
    """Position ids as passed to the rotary embedding, `[axes, batch, n]`."""
    return position_ids if position_ids.ndim == 3 else position_ids[None]


def require_fixed_rope(rope_type: str) -> None:
    """Refuse a RoPE whose frequencies depend on the prompt lengths in the batch."""
    if "dynamic" in rope_type or rope_type == "longrope":
        raise ReLopeError(f"RoPE of type '{rope_type}' changes with the prompt's length and is not supported here")


def square_grid(inputs: dict[str, Any], row: int, n_tokens: int) -> tuple[int, int]:
    """Grid of a vision tower with square images; (0, 0), no grid, when n is not a square."""
    side = round(n_tokens**0.5)
    return (side, side) if side * side == n_tokens else (0, 0)


@dataclasses.dataclass(frozen=True)
class Family:
    """One decoder-layer class in transformers.

    Attributes:
      layer_class: name of the class; layers of other classes are refused.
      spec: the block's spec. `biases`, `qk_norm` and `output_norms` follow from the weights found.
      modules: `{projection: module}`; projections that share a module are its consecutive rows, in this order.
      norms: `{our norm: module}`; with `q_norm`, `k_norm`, `attention_output_norm`, `mlp_output_norm` if there are any.
      gain_offset: the gain is this plus the stored weight (1 where a family writes 1 + w).
      frequencies: RoPE frequencies `[axes, half]`, see `relope_jax.block.layers`.
      positions: `[axes, batch, n]` to store, from the position ids that the rotary embedding got during a prefill.
      image_grid: (height, width) of the image tokens of one row of the processor's output.
    """

    name: str
    layer_class: str
    spec: Callable[[DecoderLayer], BlockSpec]
    modules: dict[str, str] = dataclasses.field(default_factory=LLAMA_MODULES.copy)
    norms: dict[str, str] = dataclasses.field(default_factory=LLAMA_NORMS.copy)
    gain_offset: float = 0.0
    frequencies: Callable[[DecoderLayer], torch.Tensor] = one_axis
    positions: Callable[[DecoderLayer, torch.Tensor], torch.Tensor] = as_given
    image_grid: Callable[[dict[str, Any], int, int], tuple[int, int]] = square_grid
