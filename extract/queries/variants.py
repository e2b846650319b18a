"""Variants of a query for the robustness and modality studies. The reference answer never changes. No torch here."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from extract.datasets.reading.rows import Row
from extract.datasets.reading.tables import json_lines
from extract.imaging.images import decode_image
from extract.imaging.pixels import as_rgb
from extract.imaging.places import PLACE
from extract.text import shortened
from relope_jax.errors import ReLopeError, nearest

CAPTION_TEMPLATE = "[Image: {caption}]"  # replaces an image
_PLACES = re.compile(r"(?: *<image \d+>)+(?:([,.;:?!)])| *)")  # several in a row, with the spaces around them

Images = tuple[Image.Image, ...]


class _Strength(NamedTuple):
    low: float
    high: float
    meaning: str


STRENGTHS = {
    "noise": _Strength(0, 255, "standard deviation in 8-bit grey levels"),
    "jpeg": _Strength(1, 95, "quality, a whole number"),
    "blur": _Strength(0, 100, "Gaussian radius in pixels"),
}
KINDS = ("", *STRENGTHS, "caption", "question_only")


@dataclasses.dataclass(frozen=True)
class Variant:
    """A change to every query before the model sees it. `str()` gives the text that `parse_variant` reads.

    Attributes:
      kind: one of `KINDS`; "" leaves the query unchanged.
      strength: in the unit and range of `STRENGTHS`; 0 for the other kinds.

    Raises:
      ReLopeError: an unknown kind, or a strength outside its range.
    """

    kind: str = ""
    strength: float = 0.0

    def __post_init__(self) -> None:
        limits = STRENGTHS.get(self.kind, _Strength(0, 0, ""))
        fraction = self.kind == "jpeg" and self.strength % 1
        if self.kind not in KINDS or fraction or not limits.low <= self.strength <= limits.high:
            raise _unknown(str(self))

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength:.15g}" if self.kind in STRENGTHS else self.kind

    @property
    def changes_images(self) -> bool:
        """Whether the model still sees every image, but changed."""
        return self.kind in STRENGTHS

    @property
    def needs_captions(self) -> bool:
        return self.kind == "caption"

    def apply(
        self, text: str, images: Images, *, key: str, captions: tuple[str, ...] | None = None
    ) -> tuple[str, Images]:
        """The query that replaces `(text, images)`.

        Args:
          key: the sample's id. The noise in its images depends on it only, not on the batch.
          captions: one per image, for the variant "caption".

        Returns:
          The text, and the images: RGB if changed, with unchanged sizes; none for "caption" and "question_only".

        Raises:
          ReLopeError: captions are needed and there is not one for every image.
        """
        if self.kind == "question_only":
            return _without_places(text), ()
        if self.kind == "caption":
            if len(captions or ()) != len(images):
                raise ReLopeError(
                    f"the variant 'caption' needs one caption per image: '{shortened(key, 60)}' has "
                    f"{len(images)} images and {len(captions or ())} captions"
                )
            return _with_captions(text, captions or ()), ()
        return text, tuple(self._change(image, f"{key}/{i}") for i, image in enumerate(images))

    def _change(self, image: Image.Image, key: str) -> Image.Image:
        match self.kind:
            case "noise":
                return _add_noise(as_rgb(image), self.strength, key)
            case "jpeg":
                return _jpeg_compressed(as_rgb(image), int(self.strength))
            case "blur":
                return as_rgb(image).filter(ImageFilter.GaussianBlur(self.strength))
        return image


def parse_variant(text: str) -> Variant:
    """The variant described by "", "noise:25", "jpeg:20", "blur:2", "caption" or "question_only".

    Raises:
      ReLopeError: any other text; the message lists the variants, with units and ranges.
    """
    kind, colon, strength = text.partition(":")
    if (kind in STRENGTHS) != bool(colon):
        raise _unknown(text)
    try:
        return Variant(kind, float(strength) if colon else 0.0)
    except ValueError as error:
        raise _unknown(text) from error


def _unknown(text: str) -> ReLopeError:
    kind = text.partition(":")[0]
    hint = "" if kind in KINDS else nearest(kind, KINDS[1:])
    known = [f"{kind}:N ({s.meaning}, {s.low:g} to {s.high:g})" for kind, s in STRENGTHS.items()]
    return ReLopeError(f"no variant '{text}'{hint}; it can be {', '.join(known)}, caption, question_only, or empty")


def _add_noise(image: Image.Image, sigma: float, key: str) -> Image.Image:
    """Gaussian noise, rounded and clipped to 0..255. Each key has one noise field, scaled by the strength."""
    seed = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4")
    # RandomState, because NumPy guarantees that its stream never changes.
    noise = np.random.RandomState(seed).standard_normal((image.height, image.width, 3))
    noisy = np.rint(np.asarray(image) + sigma * noise).clip(0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def _jpeg_compressed(image: Image.Image, quality: int) -> Image.Image:
    """The image after it was saved as JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return decode_image(file.getvalue())


def _without_places(text: str) -> str:
    """The text without `<image k>` and without the spaces or the line that this leaves empty."""
    lines = []
    for line in text.split("\n"):
        rest = _PLACES.sub(lambda match: match[1] or " ", line)
        if rest == line:
            lines.append(line)
        elif rest.strip():
            lines.append(rest.strip())
    return "\n".join(lines).strip()


def _with_captions(text: str, captions: tuple[str, ...]) -> str:
    """Replaces the markers of each image by its caption. Captions of images without a place come first, one a line."""
    stand_ins = [CAPTION_TEMPLATE.format(caption=caption.strip()) for caption in captions]
    placed = set()

    def stand_in(match: re.Match[str]) -> str:
        index = int(match[1]) - 1
        placed.add(index)
        return stand_ins[index] if 0 <= index < len(stand_ins) else match[0]

    text = PLACE.sub(stand_in, text)
    return "\n".join([*(line for i, line in enumerate(stand_ins) if i not in placed), text])


def load_captions(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Captions by sample id from a JSONL file: `{"id": ..., "captions": [...]}`, or `"caption": "..."` for one image.

    Raises:
      ReLopeError: no such file, or a line (given by number) that has another form or repeats an id.
    """
    captions: dict[str, tuple[str, ...]] = {}
    for where, fields in json_lines(Path(path)):
        row = Row(where, fields)
        sample_id, texts = _parse_captions(row)
        if sample_id in captions:
            raise row.bad(f"the id '{shortened(sample_id, 60)}' appears more than once: ids must be unique")
        captions[sample_id] = texts
    return captions


def _parse_captions(row: Row) -> tuple[str, tuple[str, ...]]:
    if not row.has("id") or row.has("caption") == row.has("captions"):
        raise ReLopeError(f"{row.where} needs the field 'id', and 'captions' (a list) or 'caption' (a text)")
    texts = row.get("captions") if row.has("captions") else [row.get("caption")]
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise row.bad("a caption is not text, or is empty")
    return row.text("id"), tuple(texts)
