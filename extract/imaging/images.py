"""The one place that opens images: the same picture for extraction, prefill, servers, variants and reports.

A picture is the file's first frame, turned as its EXIF orientation says, composited over white, as 8-bit RGB
(extract/imaging/pixels.py). The caller leaves out what cannot be read; nothing is replaced. No torch here.

Only `FORMATS` are opened. Pillow knows thirty more: EPS starts Ghostscript, IPTC and ICNS open images inside images,
FITS unpacks without a bound, and many are decoded in Python, byte by byte.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from extract.imaging.containers import jpeg_scans, png_has_orientation, png_is_whole, takes_too_long
from extract.imaging.pixels import as_rgb, orientation
from extract.text import is_lfs_pointer, shortened
from relope_jax.errors import first_line
from relope_jax.io import limits
from relope_jax.io.files import open_regular

READING = 2  # in every store's identity; raise it when the same file gives other pixels
MAX_PIXELS = 2**28 // 3  # 256 MiB as RGB; Pillow only warns here and raises at twice as many
FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "JPEG2000",
    "AVIF",
    "PPM",
    "ICO",
    "TGA",
)  # TGA has no mark: last
MOST_SCANS = 100  # of a progressive JPEG, which has about ten; each is a pass over the whole picture
SIZE_IN_HEADER = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP"}  # the size of other formats may change when decoded


class LeftOut(Exception):
    """A sample that cannot be used; the message says why, in one short line."""


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the picture that `read_image` gives; common formats are not decoded. Raises LeftOut."""
    with _opened(path) as file, _blaming(path):
        image = _identified(file)
        if image.format not in SIZE_IN_HEADER or (image.format == "PNG" and png_has_orientation(file)):
            return _decoded(image).size
        # A PNG without EXIF would be decoded just to look for it.
        turned = image.format != "PNG" and orientation(image) >= 5
        return (image.height, image.width) if turned else image.size


def read_image(path: Path) -> Image.Image:
    """The picture in a file, RGB, without its metadata; raises LeftOut."""
    with _opened(path) as file, _blaming(path):
        return _picture(file)


def decode_image(data: bytes, name: str = "image") -> Image.Image:
    """The picture in an encoded image, RGB, without its metadata; raises LeftOut, whose message has the name."""
    with _blaming(name):
        limits.IMAGE.require(len(data), "it")
        return _picture(io.BytesIO(data))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file of a size within `limits.IMAGE`. Raises LeftOut."""
    with contextlib.ExitStack() as stack:
        with _blaming(path):
            file = stack.enter_context(open_regular(path))
            limits.IMAGE.require(os.fstat(file.fileno()).st_size, "it")
            head = file.read(64)
            file.seek(0)
            if not head:
                raise ValueError("the file is empty")
            if is_lfs_pointer(head):
                raise ValueError("a Git LFS pointer, not the image: fetch it with `git lfs pull`")
        yield file


@contextlib.contextmanager
def _blaming(name: object) -> Iterator[None]:
    """Whatever is raised inside becomes LeftOut: on damaged files Pillow raises errors of almost every kind."""
    try:
        with warnings.catch_warnings():  # of odd metadata and palettes: nothing a user can act on
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise LeftOut(f"unreadable image {shortened(name, 180)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message only repeats the path
        return f"it is damaged, or in no format that is read ({', '.join(FORMATS)})"
    if isinstance(error, IsADirectoryError):
        return "a folder"
    if isinstance(error, OSError) and error.strerror:
        return shortened(error.strerror, 100)
    return shortened(first_line(error), 130)


def _picture(file: BinaryIO) -> Image.Image:
    image = _identified(file)
    if image.format == "PNG" and not png_is_whole(file):  # Pillow does not look, and shows black where zeros are
        raise ValueError("a checksum of its pixels is wrong: it is damaged")
    if (image.format in ("JPEG", "MPO")) and jpeg_scans(file) > MOST_SCANS:
        raise ValueError(f"a JPEG of more than {MOST_SCANS} scans, which takes hours to decode")
    return _decoded(image)


@functools.cache
def formats() -> list[str]:
    """Those of `FORMATS` that this build of Pillow reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _identified(file: BinaryIO) -> Image.Image:
    """The image, not decoded yet; raises ValueError when it is empty or a decompression bomb."""
    if takes_too_long(file):
        raise ValueError("it is cut into too many pieces, or hides its picture behind too much other data")
    image = Image.open(file, formats=formats())
    _check_size(image)
    return image


def _decoded(image: Image.Image) -> Image.Image:
    """The picture, whole: other libraries make Pillow fill what is missing of torn files with grey."""
    torn, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        picture = as_rgb(image)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = torn
    _check_size(picture)  # some formats say it only now
    return picture


def _check_size(image: Image.Image) -> None:
    if not image.width * image.height:
        raise ValueError("it has no pixels")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
