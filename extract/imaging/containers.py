"""The structure of PNG, JPEG and WebP files: what they hold besides the picture, and a file with only the picture."""

from __future__ import annotations

import io
import zlib
from collections.abc import Hashable, Iterator
from itertools import starmap
from typing import BinaryIO, NamedTuple

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MOST_PIECES = 100_000  # chunks of a PNG, or segments of a JPEG: readers need microseconds for each
LONGEST_HEAD = 2**24  # bytes of a JPEG before its picture: Pillow copies all EXIF read so far for every new segment
INDEXED = 3  # colour type of a PNG with a palette
CHANNELS = {0: 1, 2: 3, INDEXED: 1, 4: 2, 6: 4}  # by colour type
START_OF_SCAN, END = 0xDA, 0xD9  # of JPEG
COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # segments with colour information: first bytes, length
FRAMES, QUANTIZATION = {0xC0, 0xC1, 0xC2}, 0xDB
ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}  # markers without a length
ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # PNG texts that may hold an orientation


class Chunk(NamedTuple):
    """A piece of a file: its kind, the offset of its data, and the number of bytes of data."""

    kind: bytes
    start: int
    length: int


def png_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of a PNG up to IEND, or up to where the file is truncated."""
    position = len(PNG)
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = Chunk(head[4:], position + 8, int.from_bytes(head[:4], "big"))
        yield chunk
        position = chunk.start + chunk.length + 4  # skip its checksum
        if chunk.kind == b"IEND":
            return


def takes_too_long(file: BinaryIO) -> bool:
    """Whether reading the structure of a PNG or JPEG would take minutes. Keeps the file position."""
    position = file.tell()
    try:
        mark = file.read(8)
        if mark == PNG:
            return any(count > MOST_PIECES for count, _ in enumerate(png_chunks(file), start=1))
        return mark.startswith(JPEG) and _has_endless_head(mark + file.read(LONGEST_HEAD))
    finally:
        file.seek(position)


def _has_endless_head(head: bytes) -> bool:
    """Whether a JPEG's picture does not begin within `LONGEST_HEAD` bytes and `MOST_PIECES` markers."""
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
    """The number of scans in a JPEG, including those of further pictures in the file. Keeps the file position."""
    position = file.tell()
    file.seek(0)
    count = file.read().count(bytes((0xFF, START_OF_SCAN)))
    file.seek(position)
    return count


def png_has_orientation(file: BinaryIO) -> bool:
    """Whether a PNG has metadata that may rotate it. Keeps the file position."""
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
    """Whether the checksums of a PNG's pixel chunks are right. Keeps the file position."""
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
    """`(MIME type, bytes)` of a PNG, JPEG or WebP file reduced to its one picture; None for anything else.

    EXIF, comments, texts, colour profiles, thumbnails, further frames and data after the picture are removed. The coded
    pixels do not change. An animated or transparent WebP gives None, as does a file with an unusual structure.
    """
    for mark, mime, alone in ((PNG, "png", _png), (JPEG, "jpeg", _jpeg), (b"RIFF", "webp", _webp)):
        if data.startswith(mark):
            rest = alone(data)
            return (f"image/{mime}", rest) if rest else None
    return None


def _png(data: bytes) -> bytes | None:
    """Header, palette and pixels, rewritten because a chunk may be longer than what readers use of it."""
    chunks = list(png_chunks(io.BytesIO(data)))
    found = {chunk.kind: data[chunk.start : chunk.start + chunk.length] for chunk in chunks}
    header, palette = found.get(b"IHDR", b"")[:13], found.get(b"PLTE", b"")[: 3 * 256]
    if len(header) < 13 or sum(chunk.kind in (b"IHDR", b"PLTE") for chunk in chunks) > 2 or header[12]:
        return None  # interlaced or unusual
    coded = b"".join(data[chunk.start : chunk.start + chunk.length] for chunk in chunks if chunk.kind == b"IDAT")
    used = _pixel_bytes(coded, header)
    pieces = [(b"IHDR", header), *([(b"PLTE", palette)] if header[9] == INDEXED else []), (b"IDAT", coded[:used])]
    return PNG + b"".join(starmap(_chunk, [*pieces, (b"IEND", b"")])) if used else None


def _pixel_bytes(coded: bytes, header: bytes) -> int:
    """How many of a PNG's coded bytes decode to exactly its pixels; 0 if they decode to more or fewer."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    expected = height * (1 + (width * header[8] * CHANNELS.get(header[9], 0) + 7) // 8)
    reader, size = zlib.decompressobj(), 0
    try:
        for start in range(0, len(coded), 2**16):
            size += len(reader.decompress(coded[start : start + 2**16]))
            if reader.eof or size > expected:
                left = len(reader.unused_data)
                return min(start + 2**16, len(coded)) - left if reader.eof and size == expected else 0
    except zlib.error:
        pass
    return 0


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _jpeg(data: bytes) -> bytes | None:
    """The segments that code the picture, and JFIF and Adobe, which define its colours; None when one of them is
    repeated or longer than what readers use of it."""
    kept, seen, position = [data[:2]], set[Hashable](), 2
    while position + 2 <= len(data) and data[position] == 0xFF:
        kind = data[position + 1]
        if kind == 0xFF:  # padding
            position += 1
            continue
        if kind == END:
            return b"".join([*kept, data[position : position + 2]]) if _uses_all_tables(kept) else None
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : end]
        if 0xE0 <= kind <= 0xEF or kind == 0xFE:  # application data and comments
            if COLOURS.get(kind) != (body[:5], len(body)) or kind in seen:
                position = end
                continue
        elif not _is_exact(kind, body, seen):
            return None
        seen.add(kind)
        end = _end_of_scan(data, end) if kind == START_OF_SCAN else end
        kept.append(data[position:end])
        position = end
    return None


def _uses_all_tables(segments: list[bytes]) -> bool:
    """Whether every quantization table in a JPEG is used by one of its channels."""
    named = {segment[12 + 3 * i] for segment in segments if segment[1] in FRAMES for i in range(segment[9])}
    defined = set()
    for segment in segments:
        body = segment[4:] if segment[1] == QUANTIZATION else b""
        while body:
            defined.add(body[0] & 15)
            body = body[65 + 64 * (body[0] >> 4) :]
    return defined <= named


def _is_exact(kind: int, body: bytes, seen: set[Hashable]) -> bool:
    """Whether a segment codes the picture down to its last byte; adds the tables it defines to `seen`."""
    if kind in FRAMES:
        return len(body) >= 6 and len(body) == 6 + 3 * body[5] and not seen & FRAMES
    if kind == 0xDD:  # restart interval
        return len(body) == 2
    if kind == START_OF_SCAN:
        return len(body) >= 4 and len(body) == 4 + 2 * body[0]
    while body and kind in (0xC4, QUANTIZATION):
        size = 17 + sum(body[1:17]) if kind == 0xC4 else 65 + 64 * (body[0] >> 4)
        table = (kind, body[0])
        progressive = kind == 0xC4 and 0xC2 in seen  # redefines its tables for every scan
        if len(body) < size or (table in seen and not progressive):
            return False
        seen.add(table)
        body = body[size:]
    return kind in (0xC4, QUANTIZATION)


def _end_of_scan(data: bytes, position: int) -> int:
    """The position of the next marker that is neither a stuffed byte nor a restart."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        if data[position + 1] not in (0x00, *range(0xD0, 0xD8)):
            return position
        position += 2


def _webp(data: bytes) -> bytes | None:
    """The single chunk of a still, opaque picture, as a file."""
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
