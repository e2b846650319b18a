"""From samples to what the model is asked; what cannot be used is listed and left out, never replaced."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from PIL import Image

from extract.backbone import Backbone
from extract.batching import PromptLengths
from extract.datasets import Dataset
from extract.images import LeftOut, image_size, read_image
from extract.places import place_images
from extract.prompts import build_inputs
from extract.sample import Sample
from extract.variants import Variant
from relope_jax.errors import first_line

if TYPE_CHECKING:
    from extract.captions import Captions


@dataclasses.dataclass(frozen=True)
class Query:
    """A sample as the model is asked: the user turn's text and the decoded RGB images, after the variant."""

    sample: Sample
    text: str
    images: tuple[Image.Image, ...]

    @property
    def n_shown(self) -> int:
        """Images in the prompt; one that the text places twice counts twice."""
        return len(place_images(self.text, len(self.images))[1])


class Queries:
    """Makes the queries of one dataset in one variant for one model.

    Args:
      captions: for the variant that puts them in place of the images; None for the others.
    """

    def __init__(self, backbone: Backbone, dataset: Dataset, variant: Variant, captions: Captions | None = None):
        self._backbone, self._dataset, self._variant = backbone, dataset, variant
        self._length = PromptLengths(backbone)
        self._shows_images = variant.changes_images or not variant.kind
        self._captions = captions

    def length(self, sample: Sample) -> int:
        """Tokens of the prompt, images not decoded; raises LeftOut."""
        if sample.missing:
            raise LeftOut(sample.missing)
        self._refuse_placeholder(sample)
        sizes = [image_size(path) for path in sample.images]
        text = self._dataset.prompt(sample)
        if not self._shows_images:
            text, _ = self._varied(sample, tuple(Image.new("RGB", (1, 1)) for _ in sizes))
        try:
            return self._length(text, sizes if self._shows_images else [])
        except ValueError as error:  # an extreme aspect ratio, say
            raise LeftOut(f"the model's processor refuses it: {first_line(error)}") from error

    def read(self, sample: Sample) -> Query:
        """The query with its images; raises LeftOut."""
        return Query(sample, *self._varied(sample, tuple(read_image(path) for path in sample.images)))

    def captions(self, sample: Sample) -> tuple[str, ...]:
        """What stands in place of the sample's images; empty in the other variants. Raises LeftOut."""
        return self._captions.of(sample) if self._captions else ()

    def _varied(self, sample: Sample, images: tuple[Image.Image, ...]) -> tuple[str, tuple[Image.Image, ...]]:
        captions = self.captions(sample)
        return self._variant.apply(self._dataset.prompt(sample), images, key=sample.sample_id, captions=captions)

    def _refuse_placeholder(self, sample: Sample) -> None:
        placeholder = getattr(self._backbone.processor, "image_token", None)
        if placeholder and placeholder in self._dataset.prompt(sample):
            raise LeftOut(f"the question contains the model's image placeholder {placeholder}")

    def inputs(self, batch: list[Query]) -> Any:
        """Left-padded model inputs; raises ValueError when the processor refuses one of the queries."""
        return build_inputs(self._backbone, [(query.text, query.images) for query in batch])
