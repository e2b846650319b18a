"""A file gives the same picture everywhere: modes, transparency, depth, orientation, frames, and unreadable files."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from extract.imaging.images import decode_image, image_size, read_image
from extract.imaging.pixels import as_rgb
from tests.extract.imaging.pictures import HEIGHT, WIDTH, chunk, colours, encoded, png, turned_exif

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LOSSLESS = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True},
    "GIF": {},
    "BMP": {},
    "TGA": {},
    "ICO": {},
}


def drawing(mode: str) -> Image.Image:
    """Black on transparent; the hidden colour is black too, and the left half is drawn."""
    alpha = np.zeros((16, 20), np.uint8)
    alpha[:, :10] = 255
    image = Image.new("RGBA", (20, 16), (0, 0, 0, 0))
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":
        image = Image.new("P", (20, 16), 1)
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.paste(0, (0, 0, 10, 16))
        image.info["transparency"] = 1
        return image
    return image if mode == "RGBA" else image.convert("RGBa") if mode == "RGBa" else image.convert(mode)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("WEBP", "RGBA"), ("WEBP", "LA"), ("GIF", "P"), ("GIF", "RGBA"),
        ("TIFF", "RGBA"), ("TIFF", "LA"), ("TGA", "RGBA"), ("TGA", "LA"), ("ICO", "RGBA"),
        ("JPEG2000", "RGBA"), ("JPEG2000", "LA"), ("AVIF", "RGBA"),
    ],
)  # fmt: skip
def test_transparent_is_white(tmp_path, kind, mode):  # C14
    options = {**LOSSLESS.get(kind, {}), **({"sizes": [(20, 16)]} if kind == "ICO" else {})}
    (tmp_path / "image").write_bytes(encoded(drawing(mode), kind, **options))
    picture = np.asarray(read_image(tmp_path / "image")).astype(int)
    assert picture.shape == (16, 20, 3)
    tolerance = 3 if kind == "AVIF" else 0
    assert picture[:, :8].max() <= tolerance
    assert picture[:, 12:].min() >= 255 - tolerance


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "La", "RGBa"])
def test_an_image_in_memory_is_treated_alike(mode):  # C14: prefill and variants
    image = drawing("RGBA")
    if mode == "P":
        image = drawing("P")
    elif mode == "PA":
        image = drawing("P").convert("PA")
    elif mode == "La":
        image = image.convert("LA").convert("La")
    else:
        image = image.convert(mode)
    before = dict(image.info)
    picture = as_rgb(image)
    assert (picture.getpixel((2, 2)), picture.getpixel((15, 2))) == (BLACK, WHITE)
    assert (image.mode, image.info) == (mode, before), "the caller's image stays as it is"


def test_a_frame_smaller_than_its_gif_stands_on_white():
    frame = Image.new("P", (10, 10), 0)
    frame.putpalette([255, 0, 0])
    data = bytearray(encoded(frame, "GIF"))
    data[6:10] = (20).to_bytes(2, "little") * 2  # the canvas
    picture = decode_image(bytes(data))
    assert (picture.size, picture.getpixel((9, 9)), picture.getpixel((10, 10))) == ((20, 20), (255, 0, 0), WHITE)


def test_half_transparent_is_half_white():
    picture = decode_image(encoded(Image.new("RGBA", (2, 2), (0, 100, 200, 128)), "PNG"))
    assert np.abs(np.array(picture.getpixel((0, 0))) - [127, 177, 227]).max() <= 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png(1, 0, [b"\x40"], 2, (b"tRNS", b"\0\0")), [255, 255], id="1 bit, black"),
        pytest.param(png(1, 0, [b"\x40"], 2, (b"tRNS", b"\0\1")), [0, 255], id="1 bit, white"),
        pytest.param(png(2, 0, [b"\x1b"], 4, (b"tRNS", b"\0\1")), [0, 255, 170, 255], id="2 bits"),
        pytest.param(png(4, 0, [b"\x05\xa0"], 3, (b"tRNS", b"\0\5")), [0, 255, 170], id="4 bits"),
        pytest.param(png(8, 0, [b"\0\x80\x10"], 3, (b"tRNS", b"\0\x80")), [0, 255, 16], id="8 bits"),
        pytest.param(png(16, 0, [b"\x80\0\x80\1\x40\0"], 3, (b"tRNS", b"\x80\0")), [255, 128, 64], id="16 bits"),
        pytest.param(png(16, 4, [b"\x40\0\0\0\x40\0\xff\xff"], 2), [255, 64], id="16 bits with alpha"),
        pytest.param(png(8, 2, [b"\1\1\1\2\2\2"], 2, (b"tRNS", b"\0\1\0\1\0\1")), [255, 2], id="RGB"),
        pytest.param(
            png(16, 2, [b"\x80\0" * 3 + b"\x40\0" * 3], 2, (b"tRNS", b"\x80\0" * 3)), [255, 64], id="RGB of 16 bits"
        ),
        pytest.param(png(8, 3, [b"\0\1"], 2, (b"PLTE", b"\5\5\5\7\7\7"), (b"tRNS", b"\0\xff")), [255, 7], id="palette"),
    ],
)
def test_a_transparent_colour_of_every_depth(data, expected):  # C14
    assert np.asarray(decode_image(data))[0].tolist() == [[grey] * 3 for grey in expected]


def written(kind: str, mode: str) -> bytes | None:
    """`colours()` in a mode and a lossless format; None if Pillow cannot write it."""
    try:
        return encoded(Image.fromarray(colours()).convert(mode), kind)
    except (OSError, KeyError, ValueError):
        return None


OPAQUE = ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"]
WRITTEN = [(kind, mode) for kind in ("PNG", "TIFF", "BMP", "PPM", "TGA") for mode in OPAQUE if written(kind, mode)]


@pytest.mark.parametrize(("kind", "mode"), [*WRITTEN, ("GIF", "1"), ("GIF", "L"), ("GIF", "P")])
def test_opaque_modes_keep_their_colours(kind, mode):
    shown = np.asarray(Image.fromarray(colours()).convert(mode).convert("RGB"))
    assert np.array_equal(np.asarray(decode_image(written(kind, mode))), shown)


def test_enough_modes_are_tried():
    assert len(WRITTEN) > 20


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode(mode):
    """CMYK is written inverted, as in Adobe's files."""
    image = Image.fromarray(colours()).convert(mode)
    picture = np.asarray(decode_image(encoded(image, "JPEG", quality=95, subsampling=0))).astype(int)
    assert np.abs(picture - np.asarray(image.convert("RGB"))).mean() < 3


def test_lab():
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours()), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    picture = np.asarray(decode_image(encoded(lab, "TIFF"))).astype(int)
    assert np.abs(picture - colours()).mean() < 4  # 8-bit Lab is coarse


GREY = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
LEVELS = np.rint(255 * GREY).astype(int)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param((65535 * GREY).astype(np.uint16), "PNG", id="I;16 PNG"),
        pytest.param((65535 * GREY).astype(np.uint16), "TIFF", id="I;16 TIFF"),
        pytest.param((65535 * GREY).astype(">u2"), "TIFF", id="I;16B TIFF"),
        pytest.param((65535 * GREY).astype(np.uint16), "PPM", id="16-bit PGM"),
        pytest.param((65535 * GREY).astype(np.uint16), "JPEG2000", id="16-bit JPEG 2000"),
        pytest.param((65535 * GREY).astype(np.int32), "TIFF", id="I with 16 bits"),
        pytest.param((255 * GREY).astype(np.int32), "TIFF", id="I with 8 bits"),
        pytest.param((2e9 * GREY).astype(np.int32), "TIFF", id="I with 32 bits"),
        pytest.param((1000 * GREY - 500).astype(np.int32), "TIFF", id="I with negative values"),
        pytest.param(GREY.astype(np.float32), "TIFF", id="F, 0 to 1"),
        pytest.param((255 * GREY).astype(np.float32), "TIFF", id="F, 0 to 255"),
        pytest.param((1e4 * GREY).astype(np.float32), "TIFF", id="F, beyond 255"),
        pytest.param((2 * GREY - 1).astype(np.float32), "TIFF", id="F, -1 to 1"),
        pytest.param((6e38 * GREY - 3e38).astype(np.float32), "TIFF", id="F, the largest"),
    ],
)
def test_deep_greys_are_scaled(values, kind):  # C14's siblings: convert("RGB") clips all of them
    data = encoded(Image.fromarray(values), kind)
    picture = np.asarray(decode_image(data)).astype(int)
    assert np.abs(picture - LEVELS[..., None]).max() <= 1
    assert picture.max() == 255


def test_half_of_the_range_is_half_as_bright():
    """Values within the type's range are scaled by that range, not by the image's own."""
    assert decode_image(encoded(Image.new("I;16", (2, 2), 32768), "PNG")).getpixel((0, 0)) == (128, 128, 128)
    assert decode_image(encoded(Image.new("F", (2, 2), 0.5), "TIFF")).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9, -5.0])
def test_floats_that_are_no_grey_do_not_break_the_others(value):
    grey = np.array([[0.0, 1.0, value]], np.float32)
    picture = np.asarray(decode_image(encoded(Image.fromarray(grey), "TIFF")))
    assert picture.shape == (1, 3, 3)
    assert picture[0, 0, 0] <= picture[0, 1, 0]
    constant = Image.new("F", (2, 2), value)
    assert decode_image(encoded(constant, "TIFF")).getpixel((0, 0)) in (BLACK, WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
def test_orientation_turns_the_picture_and_its_size(tmp_path, kind, orientation):  # C16
    flat = Image.fromarray(colours())
    options = {"quality": 95, "subsampling": 0} if kind in ("JPEG", "MPO") else LOSSLESS[kind]
    path = tmp_path / "image"
    path.write_bytes(encoded(flat, kind, exif=turned_exif(orientation), **options))
    picture, size = read_image(path), image_size(path)
    assert picture.size == size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))
    with Image.open(path) as image:  # Pillow itself rotates a TIFF
        expected = ImageOps.exif_transpose(image.copy() if kind == "TIFF" else image).convert("RGB")
    assert np.array_equal(np.asarray(picture), np.asarray(expected))
    assert not picture.info
    assert not picture.getexif()


def test_orientation_as_transformers_reads_it(tmp_path):  # C16: its very input
    transformers = pytest.importorskip("transformers.image_utils")
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.new("RGB", (120, 60), "red"), "JPEG", exif=turned_exif(6)))
    assert read_image(path).size == image_size(path) == (60, 120) == transformers.load_image(str(path)).size


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def late_exif() -> bytes:
    data = encoded(Image.fromarray(colours()), "PNG")
    end = chunk(b"IEND", b"")
    return data.removesuffix(end) + chunk(b"eXIf", turned_exif(6).removeprefix(b"Exif\0\0")) + end


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(late_exif(), id="EXIF after the pixels of a PNG"),
        pytest.param(encoded(Image.fromarray(colours()), "JPEG", xmp=XMP), id="XMP in JPEG"),
        pytest.param(encoded(Image.fromarray(colours()), "WEBP", xmp=XMP), id="XMP in WebP"),
    ],
)
def test_orientation_wherever_it_stands(tmp_path, data):
    (tmp_path / "image").write_bytes(data)
    assert read_image(tmp_path / "image").size == image_size(tmp_path / "image") == (HEIGHT, WIDTH)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage", turned_exif(77)])
def test_damaged_orientation_is_none(tmp_path, exif):
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(Image.fromarray(colours()), "JPEG", exif=exif))
    assert read_image(path).size == image_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several(tmp_path, kind):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / "image"
    path.write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS[kind]))
    assert read_image(path).getpixel((3, 2)) == (255, 0, 0)
    assert image_size(path) == (6, 4)


def test_sizes_of_common_formats_are_read_without_decoding(tmp_path, monkeypatch):
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        (tmp_path / kind).write_bytes(encoded(Image.fromarray(colours()), kind))
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Software", "Matplotlib")
    (tmp_path / "plot").write_bytes(encoded(Image.fromarray(colours()), "PNG", pnginfo=text))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail(f"{image.format} was decoded"))
    assert {image_size(path) for path in tmp_path.iterdir()} == {(WIDTH, HEIGHT)}


def test_nothing_is_said_of_odd_metadata_and_no_file_stays_open(tmp_path):
    text = encoded(drawing("P"), "PNG", transparency=b"\xff\x00")  # Pillow warns about it
    (tmp_path / "image.png").write_bytes(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "image.png")
        image_size(tmp_path / "image.png")


def test_an_icon_has_the_size_that_is_decoded(tmp_path):
    (tmp_path / "icon").write_bytes(encoded(Image.fromarray(colours()), "ICO"))
    assert image_size(tmp_path / "icon") == read_image(tmp_path / "icon").size


def test_the_picture_is_a_copy_without_metadata():
    image = Image.open(io.BytesIO(encoded(Image.fromarray(colours()), "PNG", icc_profile=b"profile", dpi=(72, 72))))
    picture = as_rgb(image)
    assert picture is not image
    assert picture.info == {}
    assert as_rgb(picture) is not picture
