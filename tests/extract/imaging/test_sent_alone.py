"""Only the picture is sent: a marker planted in every place for other data does not leave the machine."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from extract.answers.content import question_content
from extract.datasets import get_dataset
from extract.imaging.containers import png_chunks
from extract.imaging.images import LeftOut, read_image
from extract.queries.variants import Variant, parse_variant
from extract.sample import Sample
from tests.extract.imaging.pictures import chunk, colours, encoded, turned_exif

MARK = b"SECRET-7c1"
PHOTO = Image.fromarray(colours()).resize((300, 200), Image.Resampling.BICUBIC)
PNG, JPEG, WEBP = (encoded(PHOTO, kind) for kind in ("PNG", "JPEG", "WEBP"))
PROGRESSIVE = encoded(PHOTO, "JPEG", progressive=True)


def urls(*paths, variant: Variant | None = None) -> list[bytes]:
    sample = Sample("s", "g", "what?", "red", paths)
    made = question_content(get_dataset("jsonl"), sample, variant or Variant(), {}).urls
    return [base64.b64decode(url.partition(",")[2]) for url in made]


def unpacked(data: bytes) -> bytes:
    """The data, and for a PNG also everything compressed in it."""
    if not data.startswith(PNG[:8]):
        return data
    file, bodies = io.BytesIO(data), []
    for piece in png_chunks(file):
        body = data[piece.start : piece.start + piece.length]
        for start in range(min(len(body), 100)):
            try:
                bodies.append(zlib.decompressobj().decompress(body[start:]))
            except zlib.error:
                continue
    return data + b"".join(bodies)


def segment(kind: int, body: bytes) -> bytes:
    return bytes((0xFF, kind)) + struct.pack(">H", 2 + len(body)) + body


def riff(*pieces: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in pieces)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def png_places() -> dict[str, bytes]:
    texts = {
        b"tEXt": b"Author\0" + MARK,
        b"zTXt": b"Author\0\0" + zlib.compress(MARK),
        b"iTXt": b"Author\0\1\0\0\0" + zlib.compress(MARK),
        b"eXIf": turned_exif(1)[6:] + MARK,
        b"tIME": MARK[:7],
        b"iCCP": b"p\0\0" + zlib.compress(MARK * 20),
        b"sPLT": b"p\0\x08" + MARK,
        b"prVt": MARK,
        b"caBX": MARK,
        b"pHYs": MARK[:9],
        b"PLTE": MARK * 3,
    }
    places = {
        f"{kind.decode()} {where}": data
        for kind, body in texts.items()
        for where, data in (
            ("before the pixels", PNG[:33] + chunk(kind, body) + PNG[33:]),
            ("after the pixels", PNG[:-12] + chunk(kind, body) + PNG[-12:]),
        )
    }
    header = PNG[16:29]
    pixels = zlib.decompress(
        b"".join(PNG[c.start : c.start + c.length] for c in png_chunks(io.BytesIO(PNG)) if c.kind == b"IDAT")
    )
    coded = zlib.compress(pixels)
    start, end = PNG[:8], chunk(b"IEND", b"")
    return places | {
        "after IEND": PNG + MARK,
        "in IEND": PNG[:-12] + chunk(b"IEND", MARK),
        "in a longer header": start + chunk(b"IHDR", header + MARK) + PNG[33:],
        "in a second header": PNG[:33] + chunk(b"IHDR", header + MARK) + PNG[33:],
        "after the coded pixels": start + chunk(b"IHDR", header) + chunk(b"IDAT", coded + MARK) + end,
        "in pixels of their own": start + chunk(b"IHDR", header) + chunk(b"IDAT", coded) + chunk(b"IDAT", MARK) + end,
        "in more rows": start + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels + MARK * 9)) + end,
        "of an animation": start
        + chunk(b"IHDR", header)
        + chunk(b"acTL", struct.pack(">II", 1, 0))
        + PNG[33:-12]
        + chunk(b"fdAT", MARK)
        + end,
    }


def jpeg_places(data: bytes, name: str) -> dict[str, bytes]:
    bodies = {
        0xE0: b"JFXX\0\x13" + MARK, 0xE1: b"Exif\0\0" + MARK, 0xE2: b"ICC_PROFILE\0\1\1" + MARK,
        0xED: b"Photoshop 3.0\0" + MARK, 0xEE: b"Adobe\0d\0\0\0\0\1" + MARK, 0xEF: MARK, 0xFE: MARK, 0xF0: MARK,
        0xF7: MARK, 0xFD: MARK, 0xC8: MARK,
        0x02: MARK, 0xDB: bytes([3]) + (MARK * 7)[:64], 0xDD: b"\0\0" + MARK, 0xDC: MARK,
    }  # fmt: skip
    end = data.rindex(b"\xff\xd9")
    scan = data.index(b"\xff\xda")
    middle = (scan + end) // 2
    places = {}
    for kind, body in bodies.items():
        for where, at in (("first", 2), ("before the scan", scan), ("in the scan", middle), ("after the scan", end)):
            if where == "in the scan" and data[at - 1] == 0xFF:
                at += 1
            places[f"{name} {kind:02X} {where}"] = data[:at] + segment(kind, body) + data[at:]
    jfif = data[:20]
    thumbnail = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\4\1" + (MARK * 2)[:12])
    return places | {
        f"{name} after the end": data + MARK,
        f"{name} second picture": data + data[:2] + segment(0xE1, b"Exif\0\0" + MARK) + data[2:],
        f"{name} thumbnail": data[:2] + thumbnail + data[len(jfif) :],
        f"{name} JFIF again": data[:20] + segment(0xE0, b"JFIF\0" + MARK[:9]) + data[20:],
        f"{name} padding": data[:2] + b"\xff\xff\xff" + segment(0xFE, MARK) + data[2:],
    }


def webp_places() -> dict[str, bytes]:
    picture = (b"VP8 ", WEBP[20 : 20 + int.from_bytes(WEBP[16:20], "little")])
    wide = (b"VP8X", struct.pack("<I", 0x2C) + (299).to_bytes(3, "little") + (199).to_bytes(3, "little"))
    places = {
        kind.decode(): riff(
            wide, *([(kind, MARK)] if kind == b"ICCP" else []), picture, *([] if kind == b"ICCP" else [(kind, MARK)])
        )
        for kind in (b"ICCP", b"EXIF", b"XMP ", b"ABCD")
    }
    return places | {"after the end": WEBP + MARK, "first": riff((b"ABCD", MARK), picture)}


def other_places() -> dict[str, bytes]:
    gif = encoded(PHOTO.convert("P"), "GIF", comment=MARK)
    exif = turned_exif(1)
    bmp = encoded(PHOTO, "BMP")
    gap = bmp[:10] + struct.pack("<I", 54 + len(MARK)) + bmp[14:54] + MARK + bmp[54:]
    return {
        "GIF comment": gif,
        "GIF end": gif + MARK,
        "BMP gap": gap,
        "BMP end": bmp + MARK,
        "TIFF tags": encoded(PHOTO, "TIFF", tiffinfo={270: MARK.decode(), 315: MARK.decode()}),
        "TIFF profile": encoded(PHOTO, "TIFF", icc_profile=MARK),
        "TIFF end": encoded(PHOTO, "TIFF") + MARK,
        "AVIF": encoded(PHOTO, "AVIF", exif=exif, xmp=MARK, icc_profile=MARK),
        "PPM comment": b"P6\n#" + MARK + b"\n2 1\n255\n" + bytes(6),
        "PPM end": encoded(PHOTO, "PPM") + MARK,
        "TGA end": encoded(PHOTO, "TGA") + MARK,
        "TGA id": encoded(PHOTO, "TGA", id_section=MARK),
        "JPEG 2000": encoded(PHOTO, "JPEG2000", comment=MARK.decode()) + MARK,
    }


PLACES = {
    **{f"PNG {name}": data for name, data in png_places().items()},
    **jpeg_places(JPEG, "JPEG"),
    **jpeg_places(PROGRESSIVE, "progressive JPEG"),
    **{f"WebP {name}": data for name, data in webp_places().items()},
    **other_places(),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_mark_does_not_leave_the_machine(tmp_path, place):
    path, plain = tmp_path / "image", tmp_path / "plain.png"
    path.write_bytes(PLACES[place])
    plain.write_bytes(PNG)
    try:
        picture = np.asarray(read_image(path))
    except LeftOut:
        return
    for variant in (Variant(), parse_variant("blur:2"), parse_variant("jpeg:50")):
        first, second = urls(path, plain, variant=variant)
        assert MARK not in unpacked(first)
        assert MARK not in unpacked(second)
    with Image.open(io.BytesIO(urls(path)[0])) as sent:
        assert np.array_equal(np.asarray(sent.convert("RGB")), picture)
        assert not {"exif", "icc_profile", "xmp", "comment", "photoshop"} & {*sent.info}


def test_most_places_are_of_files_that_are_read():
    readable = [place for place, data in PLACES.items() if _reads(data)]
    assert len(PLACES) > 150
    assert len(readable) > 100


def _reads(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).load()
    except Exception:
        return False
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.text("ABXYabxyEIP", min_size=4, max_size=4).map(str.encode),
    after=st.booleans(),
    marker=st.integers(1, 0xFE).filter(lambda marker: not 0xD0 <= marker <= 0xD7),  # these occur in the coded pixels
    body=st.binary(max_size=30),
    end=st.booleans(),
)
def test_no_kind_of_piece_carries_a_mark_along(tmp_path, kind, after, marker, body, end):
    at = len(PNG) - 12 if after else 33
    png = PNG[:at] + chunk(kind, body + MARK) + PNG[at:]
    position = JPEG.rindex(b"\xff\xd9") if end else 20
    jpeg = JPEG[:position] + segment(marker, body + MARK) + JPEG[position:]
    webp = riff((b"VP8 ", WEBP[20 : 20 + int.from_bytes(WEBP[16:20], "little")]), (kind, body + MARK))
    for data in (png, jpeg, webp):
        (tmp_path / "image").write_bytes(data)
        try:
            assert MARK not in unpacked(urls(tmp_path / "image")[0])
        except LeftOut:
            continue
