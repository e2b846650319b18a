"""Files that give no picture: truncated, damaged, too large, or not images; each gives one short reason."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from extract.imaging import images
from extract.imaging.images import LeftOut, decode_image, image_size, read_image
from tests.extract.imaging.pictures import HEIGHT, WIDTH, chunk, colours, encoded, png

SMOOTH = Image.fromarray(
    np.clip(colours().astype(int) + np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 3)), 0, 255).astype(
        np.uint8
    )
)
FORMATS = {
    "PNG": encoded(SMOOTH, "PNG"),
    "palette PNG": encoded(SMOOTH.convert("P"), "PNG"),
    "JPEG": encoded(SMOOTH, "JPEG"),
    "progressive JPEG": encoded(SMOOTH, "JPEG", progressive=True),
    "WebP": encoded(SMOOTH, "WEBP"),
    "lossless WebP": encoded(SMOOTH, "WEBP", lossless=True),
    "GIF": encoded(SMOOTH.convert("P"), "GIF"),
    "BMP": encoded(SMOOTH, "BMP"),
    "TIFF": encoded(SMOOTH, "TIFF"),
    "PPM": encoded(SMOOTH, "PPM"),
    "TGA": encoded(SMOOTH, "TGA"),
    "JPEG 2000": encoded(SMOOTH, "JPEG2000"),
    "AVIF": encoded(SMOOTH, "AVIF"),
    "APNG": encoded(SMOOTH, "PNG", save_all=True, append_images=[SMOOTH.rotate(90)]),
}


def read_or_reason(data: bytes) -> bytes | str:
    """The pixels, or the reason why there are none."""
    try:
        return decode_image(data).tobytes()
    except LeftOut as reason:
        return str(reason)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_torn_file_is_never_half_a_picture(kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as set by other libraries
    data = FORMATS[kind]
    torn = [read_or_reason(data[:cut]) for cut in range(0, len(data), max(1, len(data) // 60))]
    reasons = [reason for reason in torn if isinstance(reason, str)]
    assert {*torn} - {*reasons} <= {decode_image(data).tobytes()}
    assert len(reasons) > 30
    assert max(map(len, reasons)) < 300
    assert ImageFile.LOAD_TRUNCATED_IMAGES, "other libraries' setting stays"


@pytest.mark.parametrize("kind", ["PNG", "palette PNG", "JPEG", "GIF", "JPEG 2000"])
def test_a_file_whose_end_is_zeros_is_refused(kind):
    """After a power loss or an incomplete download."""
    data = FORMATS[kind]
    for cut in (len(data) // 3, len(data) // 2):
        with pytest.raises(LeftOut):
            decode_image(data[:cut] + bytes(len(data) - cut))


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_give_a_picture_or_one_short_line(kind):
    draw, reasons = random.Random(kind), []
    for _ in range(60):
        data = bytearray(FORMATS[kind])
        for _ in range(draw.choice((1, 3, 10))):
            data[draw.randrange(draw.choice((60, len(data))))] = draw.randrange(256)
        read = read_or_reason(bytes(data))
        reasons += [read] if isinstance(read, str) else []
    assert reasons
    assert max(map(len, reasons)) < 300
    assert not any("\n" in reason for reason in reasons)


def huge(width: int, height: int) -> bytes:
    return png(8, 2, [b"\0\0\0"], 1).replace(b"\0\0\0\1\0\0\0\1", width.to_bytes(4, "big") + height.to_bytes(4, "big"))


def with_checksum(data: bytes) -> bytes:
    header = data[16:29]
    return data[:8] + chunk(b"IHDR", header) + data[33:]


@pytest.mark.parametrize(("width", "height"), [(9500, 9500), (15000, 15000), (1, 2**31 - 1), (60000, 60000)])
def test_bombs_are_refused(tmp_path, width, height):
    (tmp_path / "image.png").write_bytes(with_checksum(huge(width, height)))
    for read in (read_image, image_size):
        with pytest.raises(LeftOut, match=r"unreadable image .*pixels"):
            read(tmp_path / "image.png")


def test_the_limit_is_pillows():
    assert images.MAX_PIXELS == Image.MAX_IMAGE_PIXELS


def test_what_is_no_image_file_is_refused_without_hanging(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    expected = {
        tmp_path / "pipe": "a device or a pipe",
        Path("/dev/zero"): "a device or a pipe",
        tmp_path: "a folder",
        tmp_path / "empty.png": "the file is empty",
        tmp_path / "page.jpg": "not in a supported format",
        tmp_path / "pointer.png": "a Git LFS pointer.*git lfs pull",
        tmp_path / "broken.png": "No such file",
        tmp_path / "nul\0.png": "null",
        tmp_path / ("x" * 300): "name too long",
        Path("data:image/png;base64," + "A" * 300_000): "name too long",  # C13
    }
    for path, why in expected.items():
        for read in (read_image, image_size):
            with pytest.raises(LeftOut, match=rf"unreadable image .*{why}") as caught:
                read(path)
            assert len(str(caught.value)) <= 320


def test_no_pixels():
    with pytest.raises(LeftOut):
        decode_image(png(8, 2, [], 0))
