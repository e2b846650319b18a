"""Llama decoder layers: LLaVA, SmolVLM/Idefics3 and the toy MLLM."""

from __future__ import annotations

import functools

from extract.models.family import LLAMA_WEIGHTS, Family, decoder_spec, square_grid

LLAMA = Family(
    name="llama",
    layer_class="LlamaDecoderLayer",
    modules=LLAMA_WEIGHTS,
    spec=functools.partial(decoder_spec, "llama"),
    image_grid=square_grid,
)
