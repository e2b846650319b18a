"""Chat prompts with images, built by the model's own processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from extract.backbone.load import Backbone
from extract.imaging.places import place_images

Images = Image.Image | Sequence[Image.Image] | None


def build_inputs(backbone: Backbone, queries: Sequence[tuple[str, Images]]) -> Any:
    """Left-padded model inputs for (text, image or images) queries, on the model's device.

    `<image k>` in a text marks the place of image k; images without a place come first.

    Raises:
      LeftOut: a text could be mistaken for the model's own template (`Template.prompt`).
      ValueError: the processor rejects a query.
    """
    texts, images = [], []
    for text, given in queries:
        given = _as_list(given)
        content, order = place_images(text, len(given))
        texts.append(backbone.template.prompt(content))
        images.append([given[i] for i in order])  # some processors require an empty list for none
    inputs = backbone.processor(text=texts, images=images if any(images) else None, padding=True, return_tensors="pt")
    inputs.pop("labels", None)  # PaliGemma's, for training
    return inputs.to(backbone.device)


def _as_list(images: Images) -> list[Image.Image]:
    if images is None:
        return []
    return [images] if isinstance(images, Image.Image) else list(images)


def prompt_text(backbone: Backbone, text: str, n_images: int) -> str:
    """The prompt of a query before images are expanded; raises LeftOut like `build_inputs`."""
    return backbone.template.prompt(place_images(text, n_images)[0])


def image_token_id(config: Any) -> int:
    """The id of image tokens in `input_ids`. Phi-4 has it in the settings of its vision tower."""
    return config.image_token_id if hasattr(config, "image_token_id") else config.vision_config.image_token_id


class ImageSpan(NamedTuple):
    """Where a prompt's image tokens are, not counting padding: the first one (-1 without an image), how many, and their
    grid (0 x 0 when they form none, for example with several images)."""

    image_start: int
    image_tokens: int
    grid_height: int
    grid_width: int


def image_spans(backbone: Backbone, inputs: Any, n_images: Sequence[int]) -> list[ImageSpan]:
    """The span of every row of a batch; `n_images` gives the number of images per row."""
    is_image = inputs["input_ids"] == image_token_id(backbone.model.config)
    spans = []
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        where = is_image[row][mask].nonzero()[:, 0].tolist()
        first, count = where[0] if where else -1, len(where)
        grid = (0, 0)
        if n_images[row] == 1 and where and where[-1] - first + 1 == count:  # else there are row separators in between
            grid = backbone.family.image_grid(inputs, sum(n_images[:row]), count)
        spans.append(ImageSpan(first, count, *grid))
    return spans
