"""Images made to be expensive: reading them ends quickly, with little memory and one line; no program is started."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import pytest
from PIL import Image

from extract.datasets.reading.grouping import image_digest
from extract.imaging import images
from extract.imaging.images import FORMATS, LeftOut, decode_image, image_size, read_image
from tests.extract.imaging.pictures import chunk, encoded, png

SMALL = Image.new("RGB", (8, 8), "red")
PNG, JPEG = encoded(SMALL, "PNG"), encoded(SMALL, "JPEG")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch x) (w) file\nshowpage\n"


def seconds(read) -> float:
    started = time.perf_counter()
    read()
    return time.perf_counter() - started


def jpeg_segments(kind: int, body: bytes, count: int) -> bytes:
    segment = bytes((0xFF, kind)) + struct.pack(">H", 2 + len(body)) + body
    return JPEG[:2] + segment * count + JPEG[2:]


def many_scans(count: int, size: int = 2000) -> bytes:
    data = encoded(Image.new("RGB", (size, size), "red"), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * count + data[end:]


PIECES = r"cut into too many pieces, or hides its picture"
REFUSED = {
    "JPEG of many scans": (lambda: many_scans(100), "more than 100 scans"),
    "JPEG with much EXIF": (lambda: jpeg_segments(0xE1, b"Exif\0\0" + bytes(65000), 300), PIECES),
    "JPEG with much profile": (lambda: jpeg_segments(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65000), 300), PIECES),
    "JPEG of empty segments": (lambda: jpeg_segments(0xE5, b"", 200_000), PIECES),
    "JPEG of padding": (lambda: JPEG[:2] + b"\xff" * 300_000 + JPEG[2:], PIECES),
    "JPEG after other bytes": (lambda: JPEG[:20] + bytes(2**24 + 9) + JPEG[20:], PIECES),
    "JPEG of markers alone": (lambda: JPEG[:3] + b"\xd0\xff" * 300_000 + JPEG[3:], PIECES),
    "PNG of empty chunks": (lambda: PNG[:33] + chunk(b"teXt", b"") * 200_000 + PNG[33:], PIECES),
    "PNG with a text that expands": (
        lambda: PNG[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26))) + PNG[33:],
        "too large",
    ),
}


@pytest.mark.parametrize("bomb", REFUSED)
def test_files_that_take_minutes_are_refused_in_seconds(tmp_path, bomb):
    made, why = REFUSED[bomb]
    (tmp_path / "image").write_bytes(made())
    started = time.perf_counter()
    with pytest.raises(LeftOut, match=why) as reason:
        read_image(tmp_path / "image")
    assert time.perf_counter() - started < 2
    assert len(str(reason.value)) < 320


def test_what_expands_elsewhere_costs_nothing():
    profile = PNG[:33] + chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**26))) + PNG[33:]
    packer = zlib.compressobj()
    pixels = packer.compress(b"\0\xff\0\0" + bytes(2**27)) + packer.flush()
    header = png(8, 2, [b"\xff\0\0"], 1)[8:33]
    endless = PNG[:8] + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    for data in (profile, endless):
        assert seconds(lambda data=data: _read(data)) < 1


def _read(data: bytes) -> str | Image.Image:
    try:
        return decode_image(data)
    except LeftOut as reason:
        return str(reason)


def directory(entries: int, size: int) -> bytes:
    """A TIFF whose tags all refer to the same `size` bytes."""
    tags = b"".join(struct.pack("<HHII", 1000 + i, 7, size, 0) for i in range(entries))
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + tags + bytes(4)
    return data.ljust(size, b"\0")


def test_directories_whose_values_overlap_do_not_fill_the_memory():
    """2,000 tags of a megabyte each would be 2 GB."""
    data = directory(2000, 10**6)
    for made in (data, encoded(SMALL, "WEBP", exif=data), encoded(SMALL, "PNG", exif=data)):
        tracemalloc.start()
        _read(made)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        tracemalloc.stop()


def test_a_directory_that_leads_to_itself_ends():
    data = bytearray(encoded(SMALL, "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[start : start + 2], "little")
    data[start + 2 + 12 * entries :][:4] = struct.pack("<I", start)
    end = start + 2 + 12 * entries
    data[end : end + 4] = struct.pack("<I", start)
    assert decode_image(bytes(data)).size == (8, 8)


def test_files_above_the_limit_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    os.truncate(path, 2**40)  # sparse: a few bytes on disk
    for read in (read_image, image_size):
        with pytest.raises(LeftOut, match=r"above the limit of 256: .*RELOPE_MAX_IMAGE_MB$"):
            read(path)
    assert seconds(lambda: image_digest(path)) < 1
    monkeypatch.setenv("RELOPE_MAX_IMAGE_MB", "1")
    with pytest.raises(LeftOut, match="above the limit of 1: "):
        decode_image(PNG + bytes(2**20))
    monkeypatch.setenv("RELOPE_MAX_IMAGE_MB", "2")
    assert decode_image(PNG + bytes(2**20)).size == (8, 8)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param("EPS", EPS, id="EPS, which starts Ghostscript"),
        pytest.param("EPS", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + bytes(20) + EPS, id="DOS EPS"),
        pytest.param("PS", b"%!PS-Adobe-3.0\n" + EPS, id="PostScript"),
        pytest.param("WMF", b"\xd7\xcd\xc6\x9a\0\0" + bytes(40), id="WMF"),
        pytest.param("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100), id="HDF5"),
        pytest.param("FITS", b"SIMPLE  =                    T" + bytes(3000), id="FITS"),
        pytest.param("GRIB", b"GRIB\0\0\0\1" + bytes(100), id="GRIB"),
        pytest.param("BUFR", b"BUFR" + bytes(100), id="BUFR"),
        pytest.param("IPTC", b"\x1c\x03\x3c\0\2\0\0" + bytes(100), id="IPTC, which opens other images"),
        pytest.param("DDS", encoded(SMALL.convert("RGBA"), "DDS"), id="DDS"),
        pytest.param("QOI", encoded(SMALL, "QOI"), id="QOI"),
        pytest.param("ICNS", encoded(SMALL.resize((128, 128)), "ICNS"), id="ICNS"),
        pytest.param("PCX", encoded(SMALL, "PCX"), id="PCX"),
        pytest.param("SGI", encoded(SMALL, "SGI"), id="SGI"),
        pytest.param("PDF", encoded(SMALL, "PDF"), id="PDF"),
        pytest.param(
            "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", id="SVG"
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "own"])
def test_formats_that_are_not_listed_are_never_opened(tmp_path, monkeypatch, kind, data, suffix):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / f"image.{kind.lower() if suffix == 'own' else suffix}"
    path.write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(LeftOut, match=r"unreadable image .*: it is damaged, or not in a supported format \(PNG, "):
            read(path)


def test_no_listed_format_runs_a_program_or_decodes_in_another():
    Image.init()
    assert {*FORMATS} <= {*Image.OPEN}
    assert not {*FORMATS} & {"EPS", "WMF", "IPTC", "FPX", "MIC", "FITS", "HDF5", "GRIB", "BUFR", "ICNS", "IM", "MPEG"}


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), NotImplementedError("x"), MemoryError(), RecursionError("deep"), SystemError("x"),
     struct.error("x"), OverflowError("x"), ValueError(), KeyError("x"), EOFError(), ZeroDivisionError("x"),
     AssertionError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), OSError("x\ny"), zlib.error("x")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_every_error_of_a_decoder_is_one_line(tmp_path, monkeypatch, error):
    """Pillow's own errors are of all these kinds, depending on format and version."""

    def fail(image: object) -> None:
        raise error

    monkeypatch.setattr(images, "as_rgb", fail)
    (tmp_path / "x.bmp").write_bytes(encoded(SMALL, "BMP"))
    with pytest.raises(LeftOut, match=r"unreadable image .*x\.bmp: .") as reason:
        read_image(tmp_path / "x.bmp")
    assert "\n" not in str(reason.value)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "WEBP", "TIFF", "ICO", "TGA", "PPM", "GIF", "BMP", "PNG", "JPEG"])
def test_a_file_with_one_byte_changed_is_a_picture_or_one_line(kind):
    """An AVIF raised RuntimeError, which ended the whole extraction."""
    data = encoded(SMALL.resize((16, 16)), kind)
    step = max(1, len(data) // 120)
    for position in range(0, len(data), step):
        for value in (0, 0xFF, data[position] ^ 0x80):
            changed = data[:position] + bytes([value]) + data[position + 1 :]
            assert "\n" not in str(_read(changed))


def test_a_decoder_that_needs_too_much_memory_is_one_line(tmp_path):
    """With 1 GB of address space, a picture within the pixel limit does not fit."""
    (tmp_path / "x.png").write_bytes(encoded(Image.new("L", (9400, 9400)), "PNG"))
    code = (
        "import resource, sys; from pathlib import Path; from extract.imaging.images import LeftOut, read_image\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except LeftOut as reason: print(reason)\n"
    )
    made = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "unreadable image" in made.stdout
    assert "MemoryError" in made.stdout


def test_the_limits_leave_room_for_real_files():
    profile = bytes(60_000)
    data = encoded(SMALL, "JPEG", icc_profile=profile * 30, comment=b"c" * 60_000, progressive=True)
    assert decode_image(data).size == (8, 8)
    chunks = [chunk(b"IDAT", bytes([byte])) for byte in io.BytesIO(zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8)).read()]
    assert decode_image(PNG[:33] + b"".join(chunks) + chunk(b"IEND", b"")).size == (8, 8)
