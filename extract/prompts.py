"""Chat prompts with images, as the model's own processor makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from extract.backbone import Backbone
from extract.places import place_images

# Trained on bare questions, without a chat template; without an image its processor damages the question.
PALIGEMMA = "paligemma"

Images = Image.Image | Sequence[Image.Image] | None


def build_inputs(backbone: Backbone, queries: Sequence[tuple[str, Images]]) -> Any:
    """Left-padded model inputs for (text, image or images) queries, on the model's device.

    `<image k>` in a text is the place of image k; images without a place come first.

    Raises:
      ValueError: the processor refuses a query.
    """
    texts, images = [], []
    for text, given in queries:
        given = _as_list(given)
        content, order = place_images(text, len(given))
        texts.append(_render(backbone, content))
        images.append([given[i] for i in order])  # an empty list for none: some processors insist on it
    inputs = backbone.processor(text=texts, images=images if any(images) else None, padding=True, return_tensors="pt")
    inputs.pop("labels", None)  # PaliGemma's, for training
    return inputs.to(backbone.device)


def _as_list(images: Images) -> list[Image.Image]:
    if images is None:
        return []
    return [images] if isinstance(images, Image.Image) else list(images)


def prompt_text(backbone: Backbone, text: str, n_images: int) -> str:
    """The prompt of a query as its tokenizer sees it before images are expanded."""
    return _render(backbone, place_images(text, n_images)[0])


def _render(backbone: Backbone, content: list[dict[str, str]]) -> str:
    """A user turn in the model's chat template, with the model's placeholders for its images."""
    if backbone.model.config.model_type == PALIGEMMA:
        if {"type": "image"} not in content:
            raise ValueError(f"{backbone.spec.name} takes no question without an image")
        token = backbone.processor.image_token
        return "".join(token if piece["type"] == "image" else piece["text"] for piece in content)
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
