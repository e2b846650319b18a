"""Turns samples into queries for the model. Unusable samples are listed and left out, never replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from extract.backbone.batching import PromptLengths, Size
from extract.backbone.load import Backbone
from extract.backbone.narrowing import step
from extract.backbone.prompts import build_inputs
from extract.datasets import Dataset
from extract.imaging.images import LeftOut, image_size, read_image
from extract.imaging.places import place_images
from extract.queries.variants import Variant
from extract.sample import Sample
from extract.text import has_surrogate

if TYPE_CHECKING:
    from extract.queries.captions import Captions


REFUSED = "the model's processor refuses it"


@dataclasses.dataclass(frozen=True)
class Query:
    """A sample as shown to the model: the user turn's text and the decoded RGB images, after the variant."""

    sample: Sample
    text: str
    images: tuple[Image.Image, ...]

    @property
    def n_shown(self) -> int:
        """Number of images in the prompt. An image placed twice in the text counts twice."""
        return len(place_images(self.text, len(self.images))[1])


class QueryBuilder:
    """Makes the queries of one dataset, in one variant, for one model.

    Args:
      captions: for the variant that replaces images by captions; None for other variants.
    """

    def __init__(self, backbone: Backbone, dataset: Dataset, variant: Variant, captions: Captions | None = None):
        self._backbone, self._dataset, self._variant = backbone, dataset, variant
        self._length = PromptLengths(backbone)
        self._shows_images = variant.changes_images or not variant.kind
        self._captions = captions

    def length(self, sample: Sample) -> int:
        """Tokens of the prompt, without decoding images.

        Raises:
          LeftOut: the sample cannot be asked; the message gives the reason.
          StepFailed: the model's processor rejects it.
        """
        if sample.missing:
            raise LeftOut(sample.missing)
        _refuse_broken_text(sample)
        sizes = [image_size(path) for path in sample.images]
        text = self._dataset.prompt(sample)
        if not self._shows_images:
            text, _ = self._varied(sample, tuple(Image.new("RGB", (1, 1)) for _ in sizes))
            sizes = []
        with step(REFUSED):
            return self._length(text, sizes)

    def image_tokens(self, sample: Sample) -> dict[Size, int]:
        """Image tokens by size, for the images shown to the model; raises like `length`."""
        sizes = [image_size(path) for path in sample.images] if self._shows_images else []
        with step(REFUSED):
            return {size: self._length.image_tokens(size).count for size in sizes}

    def read(self, sample: Sample) -> Query:
        """The query with its images; raises LeftOut."""
        return Query(sample, *self._varied(sample, tuple(read_image(path) for path in sample.images)))

    def captions(self, sample: Sample) -> tuple[str, ...]:
        """The captions that replace the sample's images; empty in other variants. Raises LeftOut."""
        return self._captions.of(sample) if self._captions else ()

    def _varied(self, sample: Sample, images: tuple[Image.Image, ...]) -> tuple[str, tuple[Image.Image, ...]]:
        captions = self.captions(sample)
        return self._variant.apply(self._dataset.prompt(sample), images, key=sample.sample_id, captions=captions)

    def inputs(self, batch: Sequence[Query]) -> Any:
        """Left-padded model inputs; raises StepFailed when the processor rejects a query."""
        with step(REFUSED):
            return build_inputs(self._backbone, [(query.text, query.images) for query in batch])


def _refuse_broken_text(sample: Sample) -> None:
    """Raise LeftOut for text that cannot be tokenized or stored."""
    texts = (sample.sample_id, sample.group, sample.question, sample.answer, *sample.choices, *sample.accepted)
    if any(map(has_surrogate, texts)):
        raise LeftOut("its text is broken Unicode: it contains half of a surrogate pair")
