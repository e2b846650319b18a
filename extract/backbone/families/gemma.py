"""Gemma 3, and Gemma 2 (PaliGemma 2): gains 1 + w, four norms per layer, sliding and global layers."""

from __future__ import annotations

import dataclasses

from extract.backbone.families.family import QK_NORMS, DecoderLayer, Family, decoder_spec
from relope_jax.block.spec import BlockSpec
from relope_jax.errors import ReLopeError

NORMS = {
    "input_norm": "input_layernorm",
    "attention_output_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_output_norm": "post_feedforward_layernorm",
}


def gemma2_spec(layer: DecoderLayer) -> BlockSpec:
    """Gemma 2 caps its attention scores. PaliGemma's prompt tokens all attend to each other, also in sliding layers."""
    softcap = layer.config.attn_logit_softcapping
    if softcap is not None and layer.config._attn_implementation == "sdpa":  # allowed by older transformers
        raise ReLopeError("sdpa attention omits Gemma 2's soft cap: set --config.model.attention=eager")
    return dataclasses.replace(decoder_spec("gemma2", layer), softcap=softcap, window=None)


def gemma3_spec(layer: DecoderLayer) -> BlockSpec:
    """Gemma 3's sliding layers have their own window and RoPE frequencies."""
    if layer.config.use_bidirectional_attention:
        raise ReLopeError("Gemma 3 with bidirectional text attention is an embedding model, which is not supported")
    return decoder_spec("gemma3", layer)


GEMMA2 = Family("gemma2", "Gemma2DecoderLayer", gemma2_spec, norms=NORMS, gain_offset=1.0)
GEMMA3 = Family("gemma3", "Gemma3DecoderLayer", gemma3_spec, norms=NORMS | QK_NORMS, gain_offset=1.0)
