"""Chat prompts with images, as the model's own processor makes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from extract.backbone import Backbone
from extract.places import place_images

# Trained on bare questions, without a chat template; without an image its processor damages the question.
PALIGEMMA = "paligemma"

# Names of the fields of configs, processors and tokenizers that name such tokens; bare "image_seq_length" is a number.
PLACEHOLDER = re.compile(r"(?:image|vision|video|audio|[be]o[iav]|fake)\w*_(?:token|tag)(?:_id|_index)?$")

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


def placeholder_ids(backbone: Backbone) -> frozenset[int]:
    """Ids of all tokens that stand for images, videos or sounds, or that enclose them, wherever the model names them:
    its config (`image_token_id`, `boi_token_index`), those of its towers, its processor, its tokenizer."""
    config = backbone.model.config
    ids: set[int] = set()
    for source in (config, getattr(config, "vision_config", None), getattr(config, "audio_config", None)):
        ids |= _placeholders(vars(source) if source is not None else {}, int)
    names = _placeholders(vars(backbone.processor), str) | {getattr(backbone.processor, "image_token", None)}
    names |= _placeholders(getattr(backbone.tokenizer, "_special_tokens_map", {}), str)
    vocabulary = backbone.tokenizer.get_vocab()
    return frozenset(ids | {vocabulary[name] for name in names if name in vocabulary})


def _placeholders(fields: Mapping[str, Any], kind: type) -> set[Any]:
    """Values of the fields that name a placeholder, by id or by text."""
    return {value for name, value in fields.items() if PLACEHOLDER.search(name) and isinstance(value, kind)}


class ImageSpan(NamedTuple):
    """Where a prompt's image tokens are, counted without padding: the first (-1 without an image), how many, and the
    grid they form (0 x 0 when they form none, as those of several images)."""

    image_start: int
    image_tokens: int
    grid_height: int
    grid_width: int


def image_spans(backbone: Backbone, inputs: Any, n_images: Sequence[int]) -> list[ImageSpan]:
    """The span of every row of a batch, whose rows show so many images."""
    is_image = inputs["input_ids"] == image_token_id(backbone.model.config)
    spans = []
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        where = is_image[row][mask].nonzero()[:, 0].tolist()
        first, count = where[0] if where else -1, len(where)
        grid = (0, 0)
        if n_images[row] == 1 and where and where[-1] - first + 1 == count:  # else row separators are in between
            grid = backbone.family.image_grid(inputs, sum(n_images[:row]), count)
        spans.append(ImageSpan(first, count, *grid))
    return spans
