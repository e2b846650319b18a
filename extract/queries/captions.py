"""Captions for the variant that replaces images by them: from a file, else from the small model itself."""

from __future__ import annotations

from pathlib import Path

from extract.backbone.batching import is_out_of_memory
from extract.backbone.generate import caption_images
from extract.backbone.load import Backbone
from extract.imaging.images import LeftOut, read_image
from extract.queries.variants import load_captions
from extract.sample import Sample
from extract.text import shortened
from relope_jax.errors import ReLopeError, first_line


class Captions:
    """One caption per image.

    Args:
      path: a JSONL file with captions for every sample; empty lets the small model describe the images.

    Raises:
      ReLopeError: the file cannot be read, or has captions for none of the samples.
    """

    def __init__(self, backbone: Backbone, path: str, samples: list[Sample]):
        self._backbone, self._path = backbone, path
        self._given = load_captions(path) if path else {}
        self._own: dict[Path, str] = {}
        if path and not any(sample.sample_id in self._given for sample in samples):
            raise ReLopeError(f"{path} has captions for none of the samples: the ids must match")

    def of(self, sample: Sample) -> tuple[str, ...]:
        """The captions of a sample's images, or LeftOut."""
        if not self._path:
            return tuple(self._caption(path) for path in sample.images)
        captions = self._given.get(sample.sample_id, ())
        if len(captions) != len(sample.images):
            raise LeftOut(
                f"{shortened(self._path, 180)} has {len(captions)} captions for its {len(sample.images)} images"
            )
        return captions

    def _caption(self, path: Path) -> str:
        """Generated once per image, because many questions may share it."""
        if path not in self._own:
            image = read_image(path)
            try:
                self._own[path] = caption_images(self._backbone, [image])[0]
            except Exception as error:  # of this image only; if all images fail, no sample is left and the run ends
                why = "out of memory" if is_out_of_memory(error) else shortened(first_line(error), 100)
                raise LeftOut(f"the model cannot describe {shortened(path, 150)}: {why}") from error
        return self._own[path]
