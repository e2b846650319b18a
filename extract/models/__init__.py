"""The registry of model families. A new one is one file here and one entry below."""

from __future__ import annotations

import torch

from extract.models.family import Family
from extract.models.llama import LLAMA
from extract.models.qwen2_5_vl import QWEN2_5_VL
from relope_jax.errors import ReLopeError

FAMILIES: dict[str, Family] = {family.layer_class: family for family in (LLAMA, QWEN2_5_VL)}


def family_of(layer: torch.nn.Module) -> Family:
    """The family of a decoder layer; raises ReLopeError that lists the supported ones."""
    name = type(layer).__name__
    if name not in FAMILIES:
        supported = ", ".join(f"{f.name} ({f.layer_class})" for f in FAMILIES.values())
        raise ReLopeError(f"decoder layers of class {name} are not supported; supported: {supported}")
    return FAMILIES[name]
