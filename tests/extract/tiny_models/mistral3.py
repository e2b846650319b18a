"""Mistral 3: Pixtral tower, Mistral decoder."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig, PixtralVisionConfig
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from extract.processor import PixtralProcessorPil
from extract.toy.build import CHAT_TEMPLATE
from tests.extract.tiny_models.common import TEXT, VISION, add_tokens, randomise


def save_mistral3(folder: Path, tokenizer) -> Path:
    """Mistral 3: images in rows of tokens, and heads wider than hidden_size / heads."""
    torch.manual_seed(7)
    image, _, _ = add_tokens(tokenizer, "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = Mistral3Config(
        text_config=MistralConfig(**TEXT, vocab_size=len(tokenizer), head_dim=16, sliding_window=None),
        vision_config=PixtralVisionConfig(**VISION, image_size=56, patch_size=7),
        image_token_index=image,
        spatial_merge_size=2,
    )
    randomise(Mistral3ForConditionalGeneration(config)).save_pretrained(folder)
    PixtralProcessorPil(
        image_processor=PixtralImageProcessorPil(size={"longest_edge": 56}, patch_size=7),
        tokenizer=tokenizer,
        patch_size=7,
        spatial_merge_size=2,
        chat_template=CHAT_TEMPLATE.replace("<image>", "[IMG]"),
    ).save_pretrained(folder)
    return folder
