"""PNG, JPEG and WebP files piece by piece: what they carry besides the picture, and the file without it."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MOST_PIECES = 100_000  # chunks of a PNG, or segments of a JPEG: readers take microseconds for each
LONGEST_HEAD = 2**24  # bytes of a JPEG before its picture: Pillow copies all EXIF so far with every segment of it
PICTURE_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
START_OF_SCAN, END = 0xDA, 0xD9  # of JPEG
ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}  # markers without a length
ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # PNG texts that may hold an orientation


class Chunk(NamedTuple):
    """A piece of a file: its kind, where its data starts, and how many bytes of data there are."""

    kind: bytes
    start: int
    length: int


def png_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of a PNG up to IEND, or to where the file is torn."""
    position = len(PNG)
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = Chunk(head[4:], position + 8, int.from_bytes(head[:4], "big"))
        yield chunk
        position = chunk.start + chunk.length + 4  # its checksum
        if chunk.kind == b"IEND":
            return


def takes_too_long(file: BinaryIO) -> bool:
    """Whether a PNG or JPEG is made so that looking through its pieces takes minutes; the position stays."""
    position = file.tell()
    try:
        mark = file.read(8)
        if mark == PNG:
            return any(count > MOST_PIECES for count, _ in enumerate(png_chunks(file), start=1))
        return mark.startswith(JPEG) and _has_endless_head(mark + file.read(LONGEST_HEAD))
    finally:
        file.seek(position)


def _has_endless_head(head: bytes) -> bool:
    """Whether the picture of a JPEG does not begin within `LONGEST_HEAD` bytes and `MOST_PIECES` markers."""
    position = 2
    for _ in range(MOST_PIECES):
        position = head.find(b"\xff", position)
        kind = head[position + 1] if 0 <= position < len(head) - 3 else None
        if kind is None:
            return len(head) > LONGEST_HEAD
        if kind == START_OF_SCAN:
            return False
        if kind in ALONE:
            position += 2
        elif kind == 0xFF:
            position += 1
        else:
            position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return True


def jpeg_scans(file: BinaryIO) -> int:
    """How many scans a JPEG has, those of further pictures in the file included; the position stays."""
    position = file.tell()
    file.seek(0)
    count = file.read().count(bytes((0xFF, START_OF_SCAN)))
    file.seek(position)
    return count


def png_has_orientation(file: BinaryIO) -> bool:
    """Whether a PNG has metadata that may turn it; the position in the file stays."""
    position = file.tell()
    try:
        for chunk in png_chunks(file):
            if chunk.kind == b"eXIf":
                return True
            if chunk.kind in (b"tEXt", b"zTXt", b"iTXt"):
                file.seek(chunk.start)
                if file.read(max(map(len, ORIENTED))).startswith(ORIENTED):
                    return True
        return False
    finally:
        file.seek(position)


def png_is_whole(file: BinaryIO) -> bool:
    """Whether the checksums of a PNG's pixels are right; the position in the file stays."""
    position = file.tell()
    try:
        for chunk in png_chunks(file):
            if chunk.kind == b"IDAT":
                file.seek(chunk.start - 4)
                held = file.read(4 + chunk.length)
                if zlib.crc32(held).to_bytes(4, "big") != file.read(4):
                    return False
        return True
    finally:
        file.seek(position)


def picture_alone(data: bytes) -> tuple[str, bytes] | None:
    """`(MIME type, bytes)` of a PNG, JPEG or WebP file with nothing but one picture in it; None for anything else.

    EXIF, comments, texts, colour profiles, thumbnails, further frames and whatever follows the picture are gone; the
    picture's own bytes stay as they are. An animated or transparent WebP is None.
    """
    for mark, mime, alone in ((PNG, "png", _png), (JPEG, "jpeg", _jpeg), (b"RIFF", "webp", _webp)):
        if data.startswith(mark):
            rest = alone(data)
            return (f"image/{mime}", rest) if rest else None
    return None


def _png(data: bytes) -> bytes:
    chunks = png_chunks(io.BytesIO(data))
    kept = (data[c.start - 8 : c.start + c.length + 4] for c in chunks if c.kind in PICTURE_CHUNKS)
    return PNG + b"".join(kept)


def _jpeg(data: bytes) -> bytes | None:
    """Without APPn and COM segments, but for the two that say what the colours are: JFIF and Adobe."""
    kept, position = [data[:2]], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        kind = data[position + 1]
        if kind == 0xFF:  # padding
            position += 1
            continue
        if kind == 0xD9:
            return b"".join([*kept, b"\xff\xd9"])
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : end]
        if kind == 0xDA:  # the coded picture follows, up to the next marker
            end = _end_of_scan(data, end)
        colours = (kind == 0xE0 and body.startswith(b"JFIF\0") and len(body) == 14) or (
            kind == 0xEE and body.startswith(b"Adobe") and len(body) == 12
        )
        if colours or not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, b"\xff\xd9"]) if data[position:] == b"\xff\xd9" else None


def _end_of_scan(data: bytes, position: int) -> int:
    """Where the next marker is that is neither a stuffed byte nor a restart."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        if data[position + 1] not in (0x00, *range(0xD0, 0xD8)):
            return position
        position += 2


def _webp(data: bytes) -> bytes | None:
    """The one chunk of a still and opaque picture, in a file of its own."""
    position, pictures = 12, []
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        if kind in (b"ANIM", b"ANMF", b"ALPH"):
            return None
        if kind in (b"VP8 ", b"VP8L"):
            pictures.append(data[position : position + 8 + length].ljust(end - position, b"\0"))
        position = end
    if len(pictures) != 1:
        return None
    return b"RIFF" + (4 + len(pictures[0])).to_bytes(4, "little") + b"WEBP" + pictures[0]
