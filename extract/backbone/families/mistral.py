"""Mistral decoder layers: Mistral3 (Mistral-Small with Pixtral's vision tower) and Pixtral."""

from __future__ import annotations

import dataclasses

from extract.backbone.families.family import DecoderLayer, Family, decoder_spec
from relope_jax.block.spec import BlockSpec


def spec(layer: DecoderLayer) -> BlockSpec:
    """Llama's arithmetic. If the model has a window, every layer is a sliding layer."""
    return dataclasses.replace(decoder_spec("mistral", layer), window=layer.config.sliding_window)


MISTRAL = Family("mistral", "MistralDecoderLayer", spec)
