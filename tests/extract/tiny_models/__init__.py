"""Tiny random multimodal models with real processors, saved like hub models; one file per model family."""

from tests.extract.tiny_models.gemma import save_gemma3, save_paligemma2
from tests.extract.tiny_models.llama import save_idefics3, save_llava
from tests.extract.tiny_models.mistral3 import save_mistral3, save_pixtral
from tests.extract.tiny_models.phi4 import load_phi4, save_phi4_multimodal
from tests.extract.tiny_models.qwen import save_qwen2_5_vl, save_qwen2_vl, save_qwen3_vl

__all__ = [
    "load_phi4",
    "save_gemma3",
    "save_idefics3",
    "save_llava",
    "save_mistral3",
    "save_paligemma2",
    "save_phi4_multimodal",
    "save_pixtral",
    "save_qwen2_5_vl",
    "save_qwen2_vl",
    "save_qwen3_vl",
]
