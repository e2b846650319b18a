"""From samples to one batch of model inputs; what cannot be used is listed and left out, never replaced."""

from __future__ import annotations

from typing import Any

from PIL import Image

from extract.backbone import Backbone
from extract.datasets import Dataset, Sample
from extract.prompts import build_inputs
from relope_jax.errors import first_line

Query = tuple[Sample, Image.Image | None]
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what PIL raises


class LeftOut(Exception):
    """A sample that cannot be used; the message says why."""


def prepare(
    backbone: Backbone, dataset: Dataset, samples: list[Sample], failed: list[dict[str, str]]
) -> tuple[Any, list[Query]]:
    """Model inputs of the usable samples, and these samples with their images; the others go to `failed`."""
    batch = _usable(samples, failed, lambda sample: (sample, read_image(backbone, dataset, sample)))
    try:
        return _inputs(backbone, dataset, batch), batch
    except ValueError:  # the processor refuses one of them: find out which
        batch = _usable([sample for sample, _ in batch], failed, lambda s: _accepted(backbone, dataset, s))
    return _inputs(backbone, dataset, batch), batch


def read_image(backbone: Backbone, dataset: Dataset, sample: Sample) -> Image.Image | None:
    """The decoded RGB image of a sample; raises LeftOut."""
    placeholder = getattr(backbone.processor, "image_token", None)
    if placeholder and placeholder in dataset.prompt(sample):
        raise LeftOut(f"the question contains the model's image placeholder {placeholder}")
    if sample.image is None:
        return None
    try:
        with Image.open(sample.image) as image:
            return image.convert("RGB")
    except UNREADABLE as error:
        raise LeftOut(f"unreadable image {sample.image}: {error}") from error


def _accepted(backbone: Backbone, dataset: Dataset, sample: Sample) -> Query:
    query = (sample, read_image(backbone, dataset, sample))
    try:
        _inputs(backbone, dataset, [query])
    except ValueError as error:  # an extreme aspect ratio, say
        raise LeftOut(f"the model's processor refuses it: {first_line(error)}") from error
    return query


def _inputs(backbone: Backbone, dataset: Dataset, batch: list[Query]) -> Any:
    if not batch:
        return None
    return build_inputs(backbone, [(dataset.prompt(sample), image) for sample, image in batch])


def _usable(samples: list[Sample], failed: list[dict[str, str]], make: Any) -> list[Query]:
    """`make(sample)` of every sample for which it does not raise LeftOut."""
    made = []
    for sample in samples:
        try:
            made.append(make(sample))
        except LeftOut as reason:
            failed.append({"sample_id": sample.sample_id, "reason": str(reason)})
    return made
