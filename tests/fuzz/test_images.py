"""Images from strangers: whatever the file contains, it is read as a picture or left out."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image, features

from extract.answers.encoding import encoded as encoded_to_send
from extract.imaging.images import LeftOut, decode_image, image_size, read_image
from tests.extract.imaging.pictures import colours, encoded, turned_exif
from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.rounds import ROUNDS, repeated
from tests.fuzz.watch import make_canary, watched

Result = TypeVar("Result")
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "DDS", "SGI", "ICNS"]
FORMATS += ["AVIF"] if features.check("avif") else []
FORMATS += ["JPEG2000"] if features.check("jpg_2000") else []
# Formats that Pillow reads with another program, or that refer to another file.
ODD = [
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    b"\xd7\xcd\xc6\x9a" + bytes(200),  # WMF
    b"SIMPLE  = T" * 9,  # FITS
    b"/* XPM */\nstatic char * x[] = {\n",
    b"\x89HDF\r\n\x1a\n" + bytes(64),
    b"#define x_width 1\n",  # XBM
    b"BUFR" + bytes(90),
]


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    image = Image.fromarray(colours()).resize((64, 64))
    options = {"JPEG": {"exif": turned_exif(6)}, "PNG": {"exif": turned_exif(3)}, "WEBP": {"exif": turned_exif(8)}}
    return {name: encoded(image, name, **options.get(name, {})) for name in FORMATS}


def leavable(read: Callable[[], Result]) -> Result | None:
    """The result; None when it is left out with a one-line reason. Any other error is a bug."""
    try:
        return read()
    except LeftOut as error:
        reason = str(error)
    assert len(reason.splitlines()) == 1
    assert len(reason) < 400
    return None


@pytest.mark.parametrize("examples", ROUNDS)
def test_a_changed_image_is_a_picture_or_left_out(whole, tmp_path, examples):
    outside = make_canary(tmp_path)

    def attempt(rng: random.Random) -> None:
        data = whole[rng.choice(FORMATS)] if rng.random() < 0.9 else rng.choice(ODD)
        for _ in range(rng.choice([1, 1, 3])):
            data = mutate_bytes(data, rng)
        path = tmp_path / "inside.png"
        path.write_bytes(data)
        with watched(outside):
            leavable(lambda: decode_image(data))
            size = leavable(lambda: image_size(path))
            picture = leavable(lambda: read_image(path))
            if picture is not None:
                assert picture.mode == "RGB"
                assert size in (None, picture.size)
                mime, sent = encoded_to_send(data, picture)
                assert mime.startswith("image/")
                assert sent

    repeated(attempt, examples)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "absent", "empty", "loop"])
def test_what_is_no_file_is_left_out_at_once(kind, tmp_path):
    path: Path = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to("x.png")
    elif kind == "empty":
        path.touch()
    with watched(make_canary(tmp_path)):
        for read in (read_image, image_size):
            with pytest.raises(LeftOut, match=r"x\.png"):
                read(path)
