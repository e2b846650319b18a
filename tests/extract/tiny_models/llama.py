"""Models with a Llama decoder: LLaVA and Idefics3 (which includes SmolVLM)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from extract.toy.build import CHAT_TEMPLATE
from tests.extract.tiny_models.common import TEXT, VISION, randomise


def save_llava(folder: Path, tokenizer, **text: Any) -> Path:
    """LLaVA: CLIP tower, Llama decoder; `tokenizer` already knows <image>."""
    torch.manual_seed(0)
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, image_size=28, patch_size=14),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT, **text),
        image_token_id=image_token_id,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    randomise(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"height": 28, "width": 28}, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def save_idefics3(folder: Path, tokenizer) -> Path:
    """Idefics3: images cut into tiles separated by row and column tags."""
    torch.manual_seed(4)
    processor = Idefics3Processor(  # adds its tokens to the tokenizer
        image_processor=Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer=tokenizer,
        image_seq_len=1,  # 2x2 patches per tile, merged by scale_factor
        chat_template=CHAT_TEMPLATE,
    )
    config = Idefics3Config(
        vision_config={**VISION, "image_size": 28, "patch_size": 14},
        text_config=LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **TEXT),
        image_token_id=processor.image_token_id,
        scale_factor=2,
    )
    randomise(Idefics3ForConditionalGeneration(config)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
