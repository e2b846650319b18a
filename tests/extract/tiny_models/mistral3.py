"""Mistral 3 and Pixtral: Pixtral tower, Mistral decoder."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from extract.backbone.processor import PixtralProcessorPil
from extract.toy.build import CHAT_TEMPLATE
from tests.extract.tiny_models.common import TEXT, VISION, add_tokens, randomise


def save_mistral3(folder: Path, tokenizer, window: int | None = None) -> Path:
    """Mistral 3: images in rows of tokens, and heads wider than hidden_size / heads."""
    torch.manual_seed(7)
    image, _, _ = add_tokens(tokenizer, "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = Mistral3Config(
        text_config=MistralConfig(**TEXT, vocab_size=len(tokenizer), head_dim=16, sliding_window=window),
        vision_config=PixtralVisionConfig(**VISION, image_size=56, patch_size=7),
        image_token_index=image,
        spatial_merge_size=2,
    )
    return _save(Mistral3ForConditionalGeneration(config), folder, tokenizer, spatial_merge_size=2)


def save_pixtral(folder: Path, tokenizer) -> Path:
    """Pixtral: a LLaVA with Pixtral's tower and a Mistral decoder."""
    torch.manual_seed(9)
    image, _, _ = add_tokens(tokenizer, "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = LlavaConfig(
        text_config=MistralConfig(**TEXT, vocab_size=len(tokenizer), sliding_window=None),
        vision_config=PixtralVisionConfig(**VISION, image_size=56, patch_size=7),
        image_token_index=image,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return _save(LlavaForConditionalGeneration(config), folder, tokenizer, spatial_merge_size=1)


def _save(model: torch.nn.Module, folder: Path, tokenizer, spatial_merge_size: int) -> Path:
    randomise(model).save_pretrained(folder)
    PixtralProcessorPil(
        image_processor=PixtralImageProcessorPil(size={"longest_edge": 56}, patch_size=7),
        tokenizer=tokenizer,
        patch_size=7,
        spatial_merge_size=spatial_merge_size,
        chat_template=CHAT_TEMPLATE.replace("<image>", "[IMG]"),
    ).save_pretrained(folder)
    return folder
