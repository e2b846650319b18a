"""8-bit RGB pixels of an image of any mode, the way up that its metadata says, composited over white."""

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
TOPS = {"F": (1.0, 255.0), "I": (255.0, 65535.0)}  # what white may be, for floats and for integers
GREY_STEP = {"L;2": 85, "L;4": 17}  # Pillow scales these greys to 8 bits, but not the PNG's transparent one


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture that an image shows: 8-bit RGB, with nothing of its metadata; always a new image.

    It is turned as its EXIF orientation says. What is transparent shows white. Depths beyond 8 bits are scaled:
      integer grey: 0 to 255 when all values lie there, else 0 to 65535 when all do, else smallest to largest.
      float grey: 0 to 1 when all values lie there, else 0 to 255 when all do, else smallest to largest.
      Of 16-bit colours Pillow keeps the upper 8 bits. Colour profiles are not applied.

    Raises:
      Exception: whatever Pillow raises when it cannot decode the image.
    """
    _, extent, _, raw_mode = next(iter(getattr(image, "tile", ())), (None,) * 4)  # gone once it is loaded
    image.load()
    turn = TURNS.get(orientation(image))
    picture = _composited(image, raw_mode)
    if image.format == "GIF" and extent:
        picture = _within(picture, extent)
    if turn is not None:
        picture = picture.transpose(turn)
    picture.info = {}  # Pillow would save a colour profile or a transparent colour that it finds here
    return picture


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, from 1 to 8; 1 when there is none or the metadata is damaged."""
    try:
        value = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata; the pixels are not to blame
        return 1
    return value if value in TURNS else 1


def _composited(image: Image.Image, raw_mode: Any) -> Image.Image:
    """RGB over white, not turned yet."""
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
    """The picture, white outside of the part (left, top, right, bottom) that a frame covers."""
    canvas = Image.new("RGB", picture.size, "white")
    canvas.paste(picture.crop(extent), extent)
    return canvas


def _over_white(image: Image.Image, key: Any, raw_mode: Any) -> Image.Image:
    if image.mode == "L" and raw_mode in GREY_STEP:
        image = _with_key(image, key * GREY_STEP[raw_mode])
    elif image.mode == "RGB" and max(key) > 255:  # of 16 bits, unlike the pixels
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
    """Pillow converts Lab only through a colour profile."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)
