"""Tiny random multimodal models with real processors, saved like hub models."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from extract.toy.build import CHAT_TEMPLATE

QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def save_llava(folder: Path, tokenizer) -> Path:
    """LLaVA: CLIP tower, Llama decoder; `tokenizer` already knows <image>."""
    torch.manual_seed(0)
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        ),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT),
        image_token_id=image_token_id,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    _randomise(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"height": 28, "width": 28}, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def save_qwen2_5_vl(folder: Path, tokenizer) -> Path:
    """Qwen2.5-VL: windowed vision tower, q/k/v biases, three-axis RoPE."""
    torch.manual_seed(1)
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_TOKENS)}, replace_extra_special_tokens=False)
    ids = dict(zip(QWEN_TOKENS, tokenizer.convert_tokens_to_ids(list(QWEN_TOKENS)), strict=True))
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    _randomise(Qwen2_5_VLForConditionalGeneration(config)).save_pretrained(folder)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"  # as on the hub: a text-only template here ...
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": tokenizer.chat_template}))
    template = CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))  # ... and the real one here
    Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=112 * 112).save_pretrained(folder)
    return folder


def _randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that attention, norms and biases all matter to the result."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            elif parameter.ndim >= 2:
                parameter.normal_(std=1.0 / parameter[0].numel() ** 0.5)
            else:
                parameter.normal_(std=0.5)
    return model
