"""A question as a chat message: text and images in order, images as data URLs."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from extract.answers.encoding import encoded, png
from extract.datasets import Dataset
from extract.imaging.images import LeftOut, decode_image, read_image
from extract.imaging.places import place_images
from extract.queries.variants import Variant
from extract.sample import Sample
from relope_jax.io import limits
from relope_jax.io.files import read_bytes

Captions = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Question:
    """A sample as it is asked: the prompt before any style, its images as data URLs, and the small model's answer when
    the question is about that."""

    sample_id: str
    text: str
    urls: tuple[str, ...]
    answer: str = ""


def question_content(dataset: Dataset, sample: Sample, variant: Variant, captions: Captions) -> Question:
    """A sample's prompt and images under a variant; raises LeftOut when an image is missing or unreadable."""
    if sample.missing:
        raise LeftOut(sample.missing)
    text = dataset.prompt(sample)
    if variant == Variant():
        return Question(sample.sample_id, text, tuple(_file_url(path) for path in sample.images))
    images = tuple(read_image(path) for path in sample.images)
    text, images = variant.apply(text, images, key=sample.sample_id, captions=captions.get(sample.sample_id))
    return Question(sample.sample_id, text, tuple(image_url(image) for image in images))


def message(text: str, urls: Sequence[str], detail: str = "") -> dict[str, Any]:
    """The user's chat message with `<image k>` in the text as the place of image k; plain text without images."""
    if not urls:
        return {"role": "user", "content": text}
    pieces, order = place_images(text, len(urls))
    options = {"detail": detail} if detail else {}
    shown = iter([{"type": "image_url", "image_url": {"url": urls[i], **options}} for i in order])
    return {"role": "user", "content": [piece if piece["type"] == "text" else next(shown) for piece in pieces]}


def image_url(image: Image.Image) -> str:
    """A picture as a PNG data URL."""
    return _data_url("image/png", png(image))


def decode(url: str) -> Image.Image:
    """The RGB image of a data URL."""
    return decode_image(base64.b64decode(url.partition(",")[2]))


def _file_url(path: Path) -> str:
    picture = read_image(path)  # first, so that a truncated file is left out here, not refused by the server
    return _data_url(*encoded(read_bytes(path, limits.IMAGE), picture))


def _data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
