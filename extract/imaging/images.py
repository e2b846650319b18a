"""The only place that opens images: extraction, prefill, servers, variants and reports see the same picture.

A picture is the file's first frame, rotated by its EXIF orientation, composited over white, as 8-bit RGB
(extract/imaging/pixels.py). The caller leaves out samples with unreadable images. No torch here.

Only `FORMATS` are opened. Pillow supports thirty more: EPS starts Ghostscript, IPTC and ICNS open images inside images,
FITS unpacks without a limit, and many are decoded in Python byte by byte.
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

READING = 2  # part of every store's identity; raise it when the same file gives different pixels
MAX_PIXELS = 2**28 // 3  # 256 MiB as RGB; Pillow only warns at this size and raises at twice it
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
)  # last, because TGA has no signature
MOST_SCANS = 100  # of a progressive JPEG; usually about ten. Each is a pass over the whole picture
SIZE_IN_HEADER = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP"}  # for other formats, decoding may change the size


class LeftOut(Exception):
    """A sample that cannot be used. The message gives the reason in one short line."""


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the picture from `read_image`, without decoding common formats. Raises LeftOut."""
    with _opened(path) as file, _as_left_out(path):
        image = _identified(file)
        if image.format not in SIZE_IN_HEADER or (image.format == "PNG" and png_has_orientation(file)):
            return _decoded(image).size
        # Looking for EXIF in a PNG that has none would decode it.
        turned = image.format != "PNG" and orientation(image) >= 5
        return (image.height, image.width) if turned else image.size


def read_image(path: Path) -> Image.Image:
    """The picture in a file: RGB, without metadata. Raises LeftOut."""
    with _opened(path) as file, _as_left_out(path):
        return _picture(file)


def decode_image(data: bytes, name: str = "image") -> Image.Image:
    """The picture in an encoded image: RGB, without metadata. Raises LeftOut with `name` in its message."""
    with _as_left_out(name):
        limits.IMAGE.require(len(data), "it")
        return _picture(io.BytesIO(data))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a regular file within `limits.IMAGE`. Raises LeftOut."""
    with contextlib.ExitStack() as stack:
        with _as_left_out(path):
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
def _as_left_out(name: object) -> Iterator[None]:
    """Turn any exception into LeftOut: on damaged files Pillow raises almost every kind of error."""
    try:
        with warnings.catch_warnings():  # about unusual metadata and palettes: not actionable
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise LeftOut(f"unreadable image {shortened(name, 180)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message only repeats the path
        return f"it is damaged, or not in a supported format ({', '.join(FORMATS)})"
    if isinstance(error, IsADirectoryError):
        return "a folder"
    if isinstance(error, OSError) and error.strerror:
        return shortened(error.strerror, 100)
    return shortened(first_line(error), 130)


def _picture(file: BinaryIO) -> Image.Image:
    image = _identified(file)
    if image.format == "PNG" and not png_is_whole(file):  # Pillow does not check, and shows zeros as black
        raise ValueError("a checksum of its pixels is wrong: it is damaged")
    if (image.format in ("JPEG", "MPO")) and jpeg_scans(file) > MOST_SCANS:
        raise ValueError(f"a JPEG of more than {MOST_SCANS} scans, which takes hours to decode")
    return _decoded(image)


@functools.cache
def formats() -> list[str]:
    """The `FORMATS` that this build of Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _identified(file: BinaryIO) -> Image.Image:
    """The image, not decoded yet. Raises ValueError when it is empty or a decompression bomb."""
    if takes_too_long(file):
        raise ValueError("it is cut into too many pieces, or hides its picture behind too much other data")
    image = Image.open(file, formats=formats())
    _check_size(image)
    return image


def _decoded(image: Image.Image) -> Image.Image:
    """The whole picture. Raises on truncated files, whose missing part other libraries make Pillow fill with grey."""
    allowed, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        picture = as_rgb(image)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    _check_size(picture)  # some formats give the size only now
    return picture


def _check_size(image: Image.Image) -> None:
    if not image.width * image.height:
        raise ValueError("it has no pixels")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
