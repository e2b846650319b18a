"""Llama decoder layers: LLaVA, SmolVLM/Idefics3 and the toy MLLM."""

from __future__ import annotations

import functools

from extract.backbone.families.family import Family, decoder_spec

LLAMA = Family("llama", "LlamaDecoderLayer", functools.partial(decoder_spec, "llama"))
