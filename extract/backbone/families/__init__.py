"""The registry of model families. To add one, add a file here and an entry below."""

from __future__ import annotations

import torch

from extract.backbone.families.family import DecoderLayer, Family
from extract.backbone.families.gemma import GEMMA2, GEMMA3
from extract.backbone.families.llama import LLAMA
from extract.backbone.families.mistral import MISTRAL
from extract.backbone.families.phi4_multimodal import PHI4_MULTIMODAL
from extract.backbone.families.qwen_vl import QWEN2_5_VL, QWEN2_VL, QWEN3_VL
from relope_jax.errors import ReLopeError

__all__ = ["FAMILIES", "DecoderLayer", "Family", "family_of"]

FAMILIES: dict[str, Family] = {
    family.layer_class: family
    for family in (LLAMA, QWEN2_VL, QWEN2_5_VL, QWEN3_VL, GEMMA2, GEMMA3, PHI4_MULTIMODAL, MISTRAL)
}


def family_of(layer: torch.nn.Module) -> Family:
    """The family of a decoder layer; raises ReLopeError, which lists the supported ones, if there is none."""
    name = type(layer).__name__
    if name not in FAMILIES:
        supported = ", ".join(f"{f.name} ({f.layer_class})" for f in FAMILIES.values())
        raise ReLopeError(f"decoder layers of class {name} are not supported; supported: {supported}")
    return FAMILIES[name]
