"""Images from files; what cannot be read is left out by whoever asked for it, never replaced. No torch here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

READING = 2  # in every store's identity; raise it when the same file gives other pixels
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what PIL raises


class LeftOut(Exception):
    """A sample that cannot be used; the message says why."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file, not decoded yet; raises LeftOut, also when it is decoded inside and cannot be."""
    try:
        with Image.open(path) as image:
            yield image
    except UNREADABLE as error:
        raise LeftOut(f"unreadable image {path}: {error}") from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) without decoding the image; raises LeftOut."""
    with opened(path) as image:
        return image.size


def read_image(path: Path) -> Image.Image:
    """The decoded RGB image; raises LeftOut."""
    with opened(path) as image:
        return image.convert("RGB")
