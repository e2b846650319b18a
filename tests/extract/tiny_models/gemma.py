"""Gemma 3, and PaliGemma 2 over Gemma 2."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from extract.toy.build import CHAT_TEMPLATE
from tests.extract.tiny_models.common import TEXT, VISION, add_tokens, randomise

SIGLIP = {**VISION, "image_size": 28, "patch_size": 7}  # 4x4 patches
SIZE = {"height": 28, "width": 28}
LAYERS = {  # differences from Llama: its own scale, and a window on two of three layers
    "head_dim": 8,
    "query_pre_attn_scalar": 16,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}


def save_gemma3(folder: Path, tokenizer) -> Path:
    """Gemma 3: q/k norms, four norms per layer, a sliding window with its own RoPE base on layers 1 and 2."""
    torch.manual_seed(5)
    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    boi, eoi, image = add_tokens(tokenizer, *names.values())
    tokenizer._set_model_specific_special_tokens(names)  # the attributes Gemma3Processor reads
    rope = {  # the global layers' is scaled, as in the real models
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0},
    }
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            **TEXT,
            **LAYERS,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            rope_parameters=rope,
        ),
        vision_config=SiglipVisionConfig(**SIGLIP),
        mm_tokens_per_image=4,
        boi_token_index=boi,
        eoi_token_index=eoi,
        image_token_index=image,
    )
    randomise(Gemma3ForConditionalGeneration(config)).save_pretrained(folder)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size=SIZE),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=CHAT_TEMPLATE.replace("<image>", "<start_of_image>"),
    ).save_pretrained(folder)
    return folder


def save_paligemma2(folder: Path, tokenizer) -> Path:
    """PaliGemma 2: a cap on the attention scores, four norms per layer, prompts with bidirectional attention."""
    torch.manual_seed(6)
    image_processor = SiglipImageProcessorPil(size=SIZE)
    image_processor.image_seq_length = 16
    # Adds its tokens to the tokenizer. Like the real one it has no chat template.
    tokenizer.chat_template = None
    processor = PaliGemmaProcessor(image_processor=image_processor, tokenizer=tokenizer)
    config = PaliGemmaConfig(
        text_config=Gemma2Config(
            **TEXT,
            **LAYERS,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=30.0,
        ),
        vision_config=SiglipVisionConfig(**SIGLIP),
        projection_dim=32,
        hidden_size=32,
        image_token_index=processor.image_token_id,
    )
    randomise(PaliGemmaForConditionalGeneration(config)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
