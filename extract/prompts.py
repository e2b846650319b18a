"""Chat prompts with images, as the model's own processor makes them."""

from __future__ import annotations

from typing import Any

from PIL import Image

from extract.backbone import Backbone


def build_inputs(backbone: Backbone, queries: list[tuple[str, Image.Image | None]]) -> Any:
    """Left-padded model inputs for (text, image) queries, on the model's device."""
    texts, images = [], []
    for text, image in queries:
        content: list[dict[str, str]] = [{"type": "text", "text": text}]
        if image is not None:
            content.insert(0, {"type": "image"})
            images.append([image])
        messages = [{"role": "user", "content": content}]
        texts.append(backbone.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    inputs = backbone.processor(text=texts, images=images or None, padding=True, return_tensors="pt")
    return inputs.to(backbone.device)


def image_span(backbone: Backbone, inputs: Any, row: int) -> tuple[int, int, int, int]:
    """(first image token, image tokens, grid height, grid width) of a row, counted without padding."""
    ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
    where = (ids == backbone.model.config.image_token_id).nonzero()[:, 0]
    if len(where) == 0:
        return -1, 0, 0, 0
    before = inputs["input_ids"][:row] == backbone.model.config.image_token_id
    image_row = int(before.any(dim=1).sum())  # rows without an image have no entry in the image inputs
    first, count = int(where[0]), len(where)
    if int(where[-1]) - first + 1 != count:  # row separators in between: no plain grid
        return first, count, 0, 0
    return first, count, *backbone.family.image_grid(inputs, image_row, count)
