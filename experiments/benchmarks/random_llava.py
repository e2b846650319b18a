"""A LLaVA of any size with random weights, and questions of any length, for benchmarks: real code, random answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from extract.toy.build import CHAT_TEMPLATE, IMAGE_TOKEN

WORDS = ("what", "is", "the", "red", "blue", "small", "large", "shape", "colour", "under", "left", "right", "this")
IMAGE_SIZE = 28  # pixels; 4 image tokens


@dataclasses.dataclass(frozen=True)
class RandomModel:
    """A Llama decoder with a small CLIP tower, and questions of words/2 to 3 words/2 words.

    Attributes:
      layer: l, 1-based, the layer to capture.
      words: mean number of words in a question; a word is about one token.
      prompts: number of questions.
    """

    name: str
    d: int
    heads: int
    kv_heads: int
    intermediate: int
    n_layers: int
    layer: int
    words: int
    prompts: int

    def save(self, folder: Path, tokenizer: Any) -> Path:
        """Save the model with the toy's tokenizer, in the format of a hub model."""
        torch.manual_seed(0)
        config = LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=IMAGE_SIZE,
                patch_size=14,
            ),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=self.d,
                intermediate_size=self.intermediate,
                num_hidden_layers=self.n_layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.kv_heads,
            ),
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            vision_feature_select_strategy="default",
            vision_feature_layer=-1,
            tie_word_embeddings=True,
        )
        LlavaForConditionalGeneration(config).save_pretrained(folder)
        LlavaProcessor(
            image_processor=CLIPImageProcessorPil(
                size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_center_crop=False
            ),
            tokenizer=tokenizer,
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=CHAT_TEMPLATE,
        ).save_pretrained(folder)
        return folder

    def questions(self, count: int) -> list[str]:
        """Random words. The first questions do not depend on the count."""
        rng = np.random.default_rng(0)
        lengths = (rng.integers(self.words // 2, self.words + self.words // 2 + 1) for _ in range(count))
        return [" ".join(rng.choice(WORDS, n)) for n in lengths]
