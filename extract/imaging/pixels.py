"""Converts an image of any mode to 8-bit RGB pixels: rotated by its metadata and composited over white."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ExifTags, Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation
TOPS = {"F": (1.0, 255.0), "I": (255.0, 65535.0)}  # possible values of white, for floats and for integers
GREY_STEP = {"L;2": 85, "L;4": 17}  # Pillow scales these greys to 8 bits, but not the transparent grey


def as_rgb(image: Image.Image) -> Image.Image:
    """The visible picture of an image: 8-bit RGB without metadata; always a new image.

    It is rotated by its EXIF orientation. Transparent pixels become white. Depths beyond 8 bits are scaled:
      integer grey: from 0..255 when all values are in it, else from 0..65535 when all are, else from min..max.
      float grey: from 0..1 when all values are in it, else from 0..255 when all are, else from min..max.
      16-bit colour: Pillow keeps the upper 8 bits. Colour profiles are not applied.

    Raises:
      Exception: whatever Pillow raises when it cannot decode the image.
    """
    _, extent, _, raw_mode = next(iter(getattr(image, "tile", ())), (None,) * 4)  # not available after loading
    image.load()
    turn = TURNS.get(orientation(image))
    picture = _composited(image, raw_mode)
    if image.format == "GIF" and extent:
        picture = _within(picture, extent)
    if turn is not None:
        picture = picture.transpose(turn)
    picture.info = {}  # Pillow would save a colour profile or transparent colour kept here
    return picture


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when it is missing or the metadata is damaged."""
    try:
        value = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata; the pixels may be fine
        return 1
    return value if value in TURNS else 1


def _composited(image: Image.Image, raw_mode: Any) -> Image.Image:
    """RGB over white, not rotated yet."""
    key = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        grey = np.asarray(image)
        pixels = _scaled(grey, image.mode)
        if isinstance(key, int):
            pixels = np.where(grey == key, np.uint8(255), pixels)
        return Image.fromarray(pixels).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image, key, raw_mode)
    if image.mode == "LAB":
        return _from_lab(image)
    return image.convert("RGB")


def _within(picture: Image.Image, extent: tuple[int, int, int, int]) -> Image.Image:
    """The picture, with white outside of the part (left, top, right, bottom) that a frame covers."""
    canvas = Image.new("RGB", picture.size, "white")
    canvas.paste(picture.crop(extent), extent)
    return canvas


def _over_white(image: Image.Image, key: Any, raw_mode: Any) -> Image.Image:
    if image.mode == "L" and raw_mode in GREY_STEP:
        image = _with_key(image, key * GREY_STEP[raw_mode])
    elif image.mode == "RGB" and max(key) > 255:  # 16-bit, unlike the pixels
        image = _with_key(image, tuple(value >> 8 for value in key))
    elif image.mode == "La":
        image = image.convert("LA")
    shown = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")


def _with_key(image: Image.Image, key: Any) -> Image.Image:
    image = image.copy()
    image.info["transparency"] = key
    return image


def _scaled(grey: np.ndarray, mode: str) -> np.ndarray:
    """`grey [height, width]` of more than 8 bits as uint8; see `as_rgb`."""
    values = grey.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    top = next((top for top in TOPS["F" if mode == "F" else "I"] if low >= 0 and high <= top), None)
    low, high = (0.0, top) if top is not None else (low, high)
    # Not high - low: it overflows for the largest floats.
    share = np.nan_to_num((values / 2 - low / 2) / max(high / 2 - low / 2, np.finfo(np.float64).tiny), posinf=1.0)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _from_lab(image: Image.Image) -> Image.Image:
    """Converts Lab, which Pillow does only through a colour profile."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)
