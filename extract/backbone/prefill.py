"""Hidden states of new queries: one prefill up to layer l, with nothing computed above it."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from extract.backbone.capture import Capture
from extract.backbone.load import Backbone
from extract.backbone.prompts import build_inputs
from extract.imaging.images import LeftOut, read_image
from extract.imaging.pixels import as_rgb
from relope_jax.errors import ReLopeError
from relope_jax.states.ragged import TokenStates


def prefill(backbone: Backbone, queries: list[tuple[str, Image.Image | str | Path | None]], layer: int) -> TokenStates:
    """States of `(text, image)` queries, ready for a restored router. An image may be a path or None.

    Images are read as in the extraction: rotated by their EXIF orientation, transparent parts white.

    >>> states = prefill(backbone, [("what is the red shape?", "photo.png")], layer=24)
    >>> relope_jax.restore("runs/quickstart", method="relope")(states)

    Raises:
      ReLopeError: an image file cannot be read, or a text contains control tokens of the model.
    """
    opened = [(text, _picture(image)) for text, image in queries]
    try:
        inputs = build_inputs(backbone, opened)
    except LeftOut as error:
        raise ReLopeError(f"a query cannot be asked: {error}") from error
    with torch.inference_mode(), Capture(backbone, [layer], inputs["attention_mask"], stop_after=True) as capture:
        backbone.model(**inputs)
    return capture.states(layer)


def _picture(image: Image.Image | str | Path | None) -> Image.Image | None:
    if isinstance(image, Image.Image):
        return as_rgb(image)
    try:
        return None if image is None else read_image(Path(image))
    except LeftOut as error:
        raise ReLopeError(str(error)) from error
