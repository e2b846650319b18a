"""What a server gets: the picture that the small model sees, pixel by pixel, and nothing else from the file."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from extract.answers.content import question_content
from extract.answers.encoding import encoded
from extract.datasets import get_dataset
from extract.imaging.images import LeftOut, decode_image, read_image
from extract.queries.variants import Variant, parse_variant
from extract.sample import Sample
from tests.extract.imaging import pictures
from tests.extract.imaging.pictures import colours, turned_exif

MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F", "RGBX"]
KINDS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "TGA", "PPM", "MPO", "ICO"]


def sent(path, variant: Variant | None = None) -> bytes:
    sample = Sample("s", "g", "what?", "red", (path,))
    (url,) = question_content(get_dataset("jsonl"), sample, variant or Variant(), {}).urls
    head, _, data = url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64", "data:image/webp;base64")
    return base64.b64decode(data)


def plainly(data: bytes) -> np.ndarray:
    """As read by a server that ignores orientation and transparency."""
    with Image.open(io.BytesIO(data)) as image:
        assert not image.has_transparency_data
        assert getattr(image, "n_frames", 1) == 1
        return np.asarray(image.convert("RGB"))


def in_mode(mode: str, pixels: np.ndarray) -> Image.Image:
    if mode in ("I;16", "I", "F"):
        grey = pixels[..., 0].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
        return Image.fromarray(grey * 257)
    image = Image.fromarray(pixels)
    if mode == "PA":
        return image.convert("P").convert("PA")
    image = image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(pixels[..., 1]))
    return image


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    mode=st.sampled_from(MODES),
    orientation=st.integers(0, 8),
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    noisy=st.booleans(),
)
def test_the_same_pixels_are_sent_whatever_the_file(tmp_path, kind, mode, orientation, size, noisy):
    made = np.random.default_rng(0).integers(0, 256, (*size, 3)) if noisy else np.full((*size, 3), (9, 200, 30))
    options = {"exif": turned_exif(orientation)} if orientation and kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    try:
        data = pictures.encoded(in_mode(mode, made.astype(np.uint8)), kind, **options)
    except (OSError, KeyError, ValueError):  # Pillow cannot write such a file
        return
    (tmp_path / "image").write_bytes(data)
    picture = read_image(tmp_path / "image")
    bytes_sent = sent(tmp_path / "image")
    assert np.array_equal(plainly(bytes_sent), np.asarray(picture))
    assert decode_image(bytes_sent).tobytes() == picture.tobytes()
    assert b"SECRET" not in bytes_sent


def photo() -> Image.Image:
    """Smooth, so that JPEG and WebP take less than a byte per pixel."""
    return Image.fromarray(colours()).resize((300, 200), Image.Resampling.BICUBIC)


def annotated(kind: str) -> bytes:
    """A file with metadata about place, author and colours; the pixels are plain."""
    options: dict = {"exif": turned_exif(1), "icc_profile": b"SECRET profile", "xmp": b"<x>SECRET</x>"}
    if kind == "PNG":
        text = PngInfo()
        text.add_text("Author", "SECRET")
        text.add_itxt("Comment", "SECRET", zip=True)
        options = {"exif": turned_exif(1), "icc_profile": b"SECRET profile", "pnginfo": text, "dpi": (72, 72)}
    if kind == "JPEG":
        options |= {"comment": b"SECRET"}
    return pictures.encoded(photo(), kind, **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "MPO"])
def test_metadata_is_taken_away_and_the_picture_stays_as_it_was_coded(tmp_path, kind):
    plain = pictures.encoded(photo(), "JPEG" if kind == "MPO" else kind)
    data = plain if kind == "MPO" else annotated(kind)
    if kind == "MPO":
        frames = [photo().rotate(90, expand=True)]
        data = pictures.encoded(photo(), "MPO", save_all=True, append_images=frames, exif=turned_exif(1))
        assert len(data) > 1.5 * len(plain)
    (tmp_path / "image").write_bytes(data + b"SECRET film of a motion photo")
    bytes_sent = sent(tmp_path / "image")
    assert bytes_sent == plain, "losslessly: its own bytes, nothing coded again"
    assert b"SECRET" not in bytes_sent


@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_every_build_are_stripped(tmp_path, progressive):
    for options in ({"restart_marker_blocks": 1}, {"subsampling": 0}, {"optimize": True}, {"quality": 30}):
        data = pictures.encoded(photo(), "JPEG", progressive=progressive, comment=b"SECRET", **options)
        (tmp_path / "image").write_bytes(data)
        bytes_sent = sent(tmp_path / "image")
        assert bytes_sent[:2] == b"\xff\xd8"
        assert b"SECRET" not in bytes_sent
        assert np.array_equal(plainly(bytes_sent), np.asarray(read_image(tmp_path / "image")))


def test_a_turned_photo_is_sent_upright(tmp_path):  # C16
    (tmp_path / "image").write_bytes(pictures.encoded(Image.new("RGB", (120, 60), "red"), "JPEG", exif=turned_exif(6)))
    assert plainly(sent(tmp_path / "image")).shape == (120, 60, 3)


def test_a_transparent_drawing_is_sent_on_white(tmp_path):  # C14
    image = Image.new("RGBA", (50, 50), (255, 255, 255, 0))  # its hidden colour is white, but a server may not use it
    image.paste((0, 0, 0, 255), (0, 0, 25, 50))
    (tmp_path / "image").write_bytes(pictures.encoded(image, "PNG"))
    shown = plainly(sent(tmp_path / "image"))
    assert (shown[0, 0].tolist(), shown[0, 49].tolist()) == ([0] * 3, [255] * 3)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pictures.encoded(photo(), "PNG", compress_level=0), id="PNG without compression"),
        pytest.param(pictures.encoded(Image.new("RGB", (9, 5), "red"), "JPEG"), id="a JPEG of a few pixels"),
        pytest.param(pictures.encoded(photo(), "BMP"), id="BMP"),
        pytest.param(pictures.encoded(photo(), "TIFF"), id="TIFF"),
    ],
)
def test_wasteful_files_are_sent_as_png(data):
    mime, bytes_sent = encoded(data, decode_image(data))
    assert mime == "image/png"
    assert len(bytes_sent) < len(data)


def test_real_photographs_keep_their_bytes():
    """For JPEG, no byte of the picture changes; PNG would be several times as large."""
    data = pictures.encoded(photo(), "JPEG", quality=90)
    picture = decode_image(data)
    assert encoded(data, picture) == ("image/jpeg", data)
    assert encoded(pictures.encoded(photo(), "JPEG", exif=turned_exif(1), quality=90), picture) == ("image/jpeg", data)


@pytest.mark.parametrize("variant", ["noise:25", "jpeg:20", "blur:2"])
def test_variants_are_made_of_the_same_picture(tmp_path, variant):
    (tmp_path / "image").write_bytes(pictures.encoded(photo(), "JPEG", exif=turned_exif(6)))
    made = parse_variant(variant).apply("what?", (read_image(tmp_path / "image"),), key="s")[1][0]
    assert np.array_equal(plainly(sent(tmp_path / "image", parse_variant(variant))), np.asarray(made))


def test_a_sample_without_its_image_is_not_asked(tmp_path):  # C05
    sample = Sample("s", "g", "what?", "red", missing="its row has no image")
    for variant in (Variant(), Variant("question_only")):
        with pytest.raises(LeftOut, match="its row has no image"):
            question_content(get_dataset("jsonl"), sample, variant, {})
