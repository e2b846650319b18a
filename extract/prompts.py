"""Chat prompts with images, as the model's own processor makes them."""

from __future__ import annotations

from typing import Any

from PIL import Image

from extract.backbone import Backbone

# Trained on bare questions, without a chat template; without an image its processor damages the question.
PALIGEMMA = "paligemma"


def build_inputs(backbone: Backbone, queries: list[tuple[str, Image.Image | None]]) -> Any:
    """Left-padded model inputs for (text, image) queries, on the model's device.

    Raises:
      ValueError: the processor refuses a query.
    """
    texts = [_prompt(backbone, text, image is not None) for text, image in queries]
    # One list a row, empty for a row without an image: some processors insist on it, the others accept it.
    images = [[] if image is None else [image] for _, image in queries]
    inputs = backbone.processor(text=texts, images=images if any(images) else None, padding=True, return_tensors="pt")
    inputs.pop("labels", None)  # PaliGemma's, for training
    return inputs.to(backbone.device)


def _prompt(backbone: Backbone, text: str, has_image: bool) -> str:
    """One query in the model's chat template, with a place for its image."""
    if backbone.model.config.model_type == PALIGEMMA:
        if not has_image:
            raise ValueError(f"{backbone.spec.name} takes no question without an image")
        return f"{backbone.processor.image_token}{text}"
    content = [{"type": "text", "text": text}]
    if has_image:
        content.insert(0, {"type": "image"})
    messages = [{"role": "user", "content": content}]
    return backbone.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def image_token_id(config: Any) -> int:
    """The id that marks an image token in `input_ids`; Phi-4 keeps it with its vision tower's settings."""
    return config.image_token_id if hasattr(config, "image_token_id") else config.vision_config.image_token_id


def image_span(backbone: Backbone, inputs: Any, row: int) -> tuple[int, int, int, int]:
    """(first image token, image tokens, grid height, grid width) of a row, counted without padding."""
    is_image = inputs["input_ids"] == image_token_id(backbone.model.config)
    where = is_image[row][inputs["attention_mask"][row].bool()].nonzero()[:, 0]
    if len(where) == 0:
        return -1, 0, 0, 0
    image_row = int(is_image[:row].any(dim=1).sum())  # rows without an image have no entry in the image inputs
    first, count = int(where[0]), len(where)
    if int(where[-1]) - first + 1 != count:  # row separators in between: no plain grid
        return first, count, 0, 0
    return first, count, *backbone.family.image_grid(inputs, image_row, count)
