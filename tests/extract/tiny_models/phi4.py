"""Phi-4-multimodal, and a PIL replacement for its processor, whose image processor needs torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, BatchFeature, Phi4MultimodalConfig, Phi4MultimodalForCausalLM

from extract.backbone.load import Backbone, load_backbone
from extract.spec import ModelSpec
from extract.toy.build import CHAT_TEMPLATE
from tests.extract.tiny_models.common import TEXT, VISION, randomise

CROP, PATCH = 56, 14
SIDE = CROP // PATCH  # patches along a crop; 2x2 of them become one image token


def save_phi4_multimodal(folder: Path, tokenizer) -> Path:
    """Phi-4-multimodal: fused projections, partial RoPE, other frequencies beyond 24 positions."""
    torch.manual_seed(8)
    config = Phi4MultimodalConfig(
        **TEXT,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        original_max_position_embeddings=24,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "short_factor": [1.0, 1.5],
            "long_factor": [2.0, 5.0],
            "original_max_position_embeddings": 24,
        },
        vision_config={
            **VISION,
            "num_hidden_layers": 2,  # the features come from the layer before the last
            "image_size": CROP,
            "crop_size": CROP,
            "patch_size": PATCH,
            "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        },
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 16,
            "depthwise_separable_out_channel": 16,
            "nemo_conv_channels": 16,
            "input_size": 16,
        },
    )
    randomise(Phi4MultimodalForCausalLM(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_phi4(spec: ModelSpec) -> Backbone:
    """A saved model through the production loader, with the replacement for the processor."""
    with mock.patch("extract.backbone.load.load_processor", lambda _auto, source, _options: Phi4ProcessorPil(source)):
        return load_backbone(spec)


class Phi4ProcessorPil:
    """Returns what Phi4MultimodalProcessor returns for images and text, using PIL and torch.

    An image is resized to fill a grid of square crops and padded with white. Its tokens are those of the crops (without
    padding, one separator per row), one separator, and those of a thumbnail (one separator per row).
    """

    image_token, chat_template = "<image>", CHAT_TEMPLATE

    def __init__(self, source: str):
        self.tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return self.tokenizer.apply_chat_template(messages, chat_template=CHAT_TEMPLATE, **options)

    def __call__(self, text: list[str], images: list[list[Image.Image]] | None, **options: Any) -> BatchFeature:
        seen = [_crops(image) for row in images or [] for image in row]
        counts = iter([_n_tokens(mask) for _, mask in seen])
        expanded = [
            "".join(part + self.image_token * next(counts) for part in parts) + last
            for *parts, last in (prompt.split(self.image_token) for prompt in text)
        ]
        data = dict(self.tokenizer(expanded, **options))
        if seen:
            n = max(len(crops) for crops, _ in seen)
            data["image_pixel_values"] = torch.stack([_pad(crops, n, 0.0) for crops, _ in seen])
            data["image_attention_mask"] = torch.stack([_pad(_tile(mask, SIDE), n, 1.0) for _, mask in seen])
            data["image_sizes"] = torch.tensor([[PATCH * side for side in mask.shape] for _, mask in seen])
        return BatchFeature(data)


def _crops(image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    """Thumbnail and crops [1 + crops, 3, CROP, CROP], and which patches of the whole are not padding."""
    grid = [-(-side // CROP) for side in image.size]
    width, height = (n * CROP for n in grid)
    scale = min(width / image.width, height / image.height)
    resized = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(resized)
    pixels = torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 127.5 - 1.0).permute(2, 0, 1)
    thumbnail = torch.nn.functional.interpolate(pixels[None], size=(CROP, CROP), mode="bicubic")
    mask = torch.ones(height // PATCH, width // PATCH)
    mask[mask.shape[0] - (height - resized.height) // PATCH :, :] = 0
    mask[:, mask.shape[1] - (width - resized.width) // PATCH :] = 0
    return torch.cat([thumbnail, _tile(pixels, CROP)[1:]]), mask


def _tile(whole: torch.Tensor, side: int) -> torch.Tensor:
    """[1 + tiles, ..., side, side]: ones for the thumbnail, then the square tiles row by row."""
    tiles = whole.unfold(-2, side, side).unfold(-2, side, side)  # [..., rows, columns, side, side]
    tiles = tiles.movedim((-4, -3), (0, 1)).flatten(0, 1)
    return torch.cat([torch.ones_like(tiles[:1]), tiles])


def _n_tokens(mask: torch.Tensor) -> int:
    """Image tokens including the separators; every second patch decides for its 2x2 block."""
    half = SIDE // 2
    kept = mask[::2, ::2]
    return int(kept.sum() + kept[:, 0].sum()) + 1 + half * half + half


def _pad(crops: torch.Tensor, n: int, value: float) -> torch.Tensor:
    return torch.cat([crops, torch.full((n - len(crops), *crops.shape[1:]), value)])
