"""Limits the pixels of an image: `model.min_pixels` and `model.max_pixels` in each processor's terms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError

Limit = Callable[[Any, ModelSpec], None]


def limit_images(processor: Any, spec: ModelSpec) -> None:
    """Set the limits from `spec` in a loaded processor; 0 keeps the model's own.

    Raises:
      ReLopeError: the model's image size is fixed, lacks such a limit, or cannot be that small.
    """
    if not (spec.min_pixels or spec.max_pixels):
        return
    images = getattr(processor, "image_processor", None)
    name = re.sub("(Pil|Fast)$", "", type(images).__name__)
    if name not in LIMITS:
        raise ReLopeError(f"{spec.name} has a fixed image size ({name}): leave min_pixels and max_pixels at 0")
    LIMITS[name](processor, spec)


def by_area(processor: Any, spec: ModelSpec) -> None:
    """Qwen-VL: images keep their size, in multiples of a merged patch, between two areas.

    transformers 5 calls these areas, in pixels, shortest_edge and longest_edge.
    """
    images = processor.image_processor
    _require_least(spec, images.patch_size * images.merge_size, "merged patch")
    high = spec.max_pixels or max(images.size["longest_edge"], spec.min_pixels)
    low = spec.min_pixels or min(images.size["shortest_edge"], high)
    images.size = {"shortest_edge": low, "longest_edge": high}


def by_longest_edge(processor: Any, spec: ModelSpec) -> None:
    """Pixtral and Mistral 3: larger images are scaled down to a longest edge, in multiples of a merged patch."""
    _refuse_least(spec)
    unit = processor.patch_size * processor.spatial_merge_size
    _require_least(spec, unit, "merged patch")
    processor.image_processor.size = {"longest_edge": _edge(spec, unit)}


def by_tiles(processor: Any, spec: ModelSpec) -> None:
    """Idefics3 and SmolVLM: every image is scaled to one longest edge and cut into tiles; one tile means no cutting.

    The downscaled copy of the whole image after the tiles is not counted.
    """
    _refuse_least(spec)
    images = processor.image_processor
    unit = images.max_image_size["longest_edge"]
    _require_least(spec, unit, "tile")
    images.size = {"longest_edge": min(_edge(spec, unit), images.size["longest_edge"])}  # more would only upscale


def by_crops(processor: Any, spec: ModelSpec) -> None:
    """Phi-4-multimodal: an image fills at most this many square crops; its thumbnail is not counted."""
    _refuse_least(spec)
    images = processor.image_processor
    side = images.size["height"]
    _require_least(spec, side, "crop")
    images.dynamic_hd = spec.max_pixels // side**2


LIMITS: dict[str, Limit] = {  # by the name of the image processor, without its backend
    "Qwen2VLImageProcessor": by_area,  # also Qwen2.5-VL's and Qwen3-VL's
    "PixtralImageProcessor": by_longest_edge,  # also Mistral 3's
    "Idefics3ImageProcessor": by_tiles,
    "SmolVLMImageProcessor": by_tiles,
    "Phi4MultimodalImageProcessor": by_crops,
}


def _edge(spec: ModelSpec, unit: int) -> int:
    """Side of the largest square with at most `max_pixels`, a multiple of `unit`."""
    return math.isqrt(spec.max_pixels) // unit * unit


def _refuse_least(spec: ModelSpec) -> None:
    if spec.min_pixels:
        raise ReLopeError(f"{spec.name} has no smallest image size: leave model.min_pixels at 0")


def _require_least(spec: ModelSpec, unit: int, what: str) -> None:
    if 0 < spec.max_pixels < unit**2:
        raise ReLopeError(
            f"model.max_pixels is {spec.max_pixels}; {spec.name} needs at least {unit**2}, "
            f"one {what} of {unit} x {unit}"
        )
