"""Encodes a picture for a server: exactly the pixels that the small model sees, and nothing else."""

from __future__ import annotations

import io

from PIL import Image

from extract.imaging.containers import picture_alone
from extract.imaging.images import formats

OPAQUE = {"1", "L", "P", "RGB"}  # modes that every reader decodes in the same way


def encoded(data: bytes, picture: Image.Image) -> tuple[str, bytes]:
    """`(MIME type, bytes)` of `picture`, the RGB picture of the file that holds `data`.

    The file's own bytes without metadata if any reader shows them as `picture`: PNG, JPEG or WebP that is not rotated,
    transparent or animated. Otherwise, or if it is smaller, PNG, which every vision server reads.
    """
    own = picture_alone(data)
    if own is None or not _shows(own[1], picture):
        return "image/png", png(picture)
    if len(own[1]) <= picture.width * picture.height:  # PNG is hardly smaller and takes 0.1 to 0.3 s per megapixel
        return own
    again = png(picture)
    return ("image/png", again) if len(again) < len(own[1]) else own


def png(picture: Image.Image) -> bytes:
    """An RGB picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _shows(data: bytes, picture: Image.Image) -> bool:
    """Whether a reader that ignores orientation, transparency and frames shows `picture`."""
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            plain = image.mode in OPAQUE and not image.has_transparency_data
            return plain and image.size == picture.size and image.convert("RGB").tobytes() == picture.tobytes()
    except Exception:  # something that was removed was needed; Pillow raises many kinds
        return False
