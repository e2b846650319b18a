"""Images of every mode and format for tests, and PNGs built chunk by chunk, which Pillow cannot write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 61


def colours() -> np.ndarray:
    """`[HEIGHT, WIDTH, 3]` uint8: smooth, with an edge, all four corners different."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * x, 6 * y, 255 * (x > y)], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(depth: int, kind: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of unfiltered rows. `kind` is the colour type; `chunks` precede the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    pieces = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*piece) for piece in pieces)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def turned_exif(orientation: int) -> bytes:
    """EXIF with an orientation and the place where the picture was taken."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825)[1] = "SECRET N"
    return exif.tobytes()
