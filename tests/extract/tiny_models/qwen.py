"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from extract.toy.build import CHAT_TEMPLATE
from tests.extract.tiny_models.common import TEXT, add_tokens, randomise

TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def save_qwen2_vl(folder: Path, tokenizer) -> Path:
    """Qwen2-VL: q/k/v biases, three-axis RoPE."""
    torch.manual_seed(2)
    config = Qwen2VLConfig(
        text_config=_text(mrope_section=[1, 1, 2]),
        vision_config={"depth": 1, "embed_dim": 16, "num_heads": 2, "mlp_ratio": 1, "hidden_size": 32},
        **_token_ids(tokenizer),
    )
    return _save(Qwen2VLForConditionalGeneration, config, folder, tokenizer)


def save_qwen2_5_vl(folder: Path, tokenizer, **text: Any) -> Path:
    """Qwen2.5-VL: windowed vision tower, q/k/v biases, three-axis RoPE."""
    torch.manual_seed(1)
    config = Qwen2_5_VLConfig(
        text_config=_text(mrope_section=[1, 1, 2]) | text,
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        **_token_ids(tokenizer),
    )
    return _save(Qwen2_5_VLForConditionalGeneration, config, folder, tokenizer)


def save_qwen3_vl(folder: Path, tokenizer) -> Path:
    """Qwen3-VL: q/k norms, interleaved three-axis RoPE, image features added again after the first layers."""
    torch.manual_seed(3)
    config = Qwen3VLConfig(
        text_config=_text(mrope_section=[4, 2, 2], mrope_interleaved=True) | {"head_dim": 16},
        vision_config={
            "depth": 3,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "patch_size": 14,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        **_token_ids(tokenizer),
    )
    return _save(Qwen3VLForConditionalGeneration, config, folder, tokenizer)


def _text(**mrope: Any) -> dict[str, Any]:
    return {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **mrope}}


def _token_ids(tokenizer) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, add_tokens(tokenizer, *TOKENS), strict=True))


def _save(model: type, config: Any, folder: Path, tokenizer) -> Path:
    """Model, tokenizer and image processor as on the hub. The tests have no torchvision for the video processor."""
    config.text_config.vocab_size = len(tokenizer)
    randomise(model(config)).save_pretrained(folder)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"  # as on the hub: a text-only template here ...
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": tokenizer.chat_template}))
    template = CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))  # ... and the real one here
    Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=112 * 112).save_pretrained(folder)
    return folder
