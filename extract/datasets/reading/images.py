"""Images in a table's rows: paths, or bytes or base64, which are written once to files named by their digest."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extract.datasets.reading.grouping import image_digest
from extract.datasets.reading.names import alike
from extract.datasets.reading.values import shown
from extract.sample import Sample
from extract.text import shortened
from relope_jax.errors import ReLopeError
from relope_jax.io.paths import local_path

SUFFIXES = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\0\0\0\x0cjP  ": ".jp2",
}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*")
SHORTEST = 32  # characters; shorter texts are not taken for a base64 image


def embedded_or_path(value: Any) -> bytes | str | None:
    """The content of an image field: an encoded image, a path, or None for no image.

    Args:
      value: plain (`values.py`): bytes, a path, a data URL, base64, or an object of `bytes` and `path` as stored by the
        `datasets` package.

    Raises:
      ValueError: anything else. The message continues "the field is".
    """
    if isinstance(value, dict) and value and value.keys() <= {"bytes", "path"}:
        data = value.get("bytes")
        return embedded_or_path(data if data is not None else value.get("path"))
    if isinstance(value, bytes):
        return value or None
    if isinstance(value, str):
        return _from_text(value)
    if value is not None:
        raise ValueError(f"{shown(value)}, which is not an image")
    return None


def _from_text(text: str) -> bytes | str | None:
    if text[:5].lower() == "data:":
        return _from_data_url(text)
    if address := _ADDRESS.match(text):
        if address[1].lower() == "file":
            return urllib.parse.unquote(urllib.parse.urlsplit(text).path)
        raise ValueError(f"the address {shown(text)}: download the image first and give the file's name")
    return _from_base64(text) or (text if text.strip() else None)


def _from_data_url(text: str) -> bytes:
    header, comma, data = text[5:].partition(",")
    kind, *options = [part.strip().lower() for part in header.split(";")]
    if not comma or not (kind.startswith("image/") or kind in ("", "application/octet-stream")):
        raise ValueError(f"{shown(text)}, a data URL that holds no image")
    if "base64" not in options:
        return urllib.parse.unquote_to_bytes(data)
    decoded = _decoded(urllib.parse.unquote(data))
    if not decoded:
        raise ValueError(f"{shown(text)}, a data URL whose base64 is damaged")
    return decoded


def _from_base64(text: str) -> bytes | None:
    """The image in a text that is entirely base64; None when the text is a path or the format is unknown."""
    if len(text) < SHORTEST or not _suffix(_decoded(text[:SHORTEST]) or b"") or not _BASE64.fullmatch(text):
        return None
    data = _decoded(text)
    if data and data.startswith(b"BM") and int.from_bytes(data[2:6], "little") != len(data):
        return None  # BMP's magic number has only two letters, which proves nothing
    return data


def _decoded(text: str) -> bytes | None:
    """Decodes base64 in either alphabet, padding optional; None for anything else."""
    text = re.sub(r"\s", "", text).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _suffix(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return ".avif"
    return next((suffix for mark, suffix in SUFFIXES.items() if data.startswith(mark)), "")


def save_embedded(data: bytes, folder: Path) -> Path:
    """Writes an encoded image to a file in `folder`; see `save_image`."""
    return save_image(data, folder, _suffix(data))


def save_image(data: bytes, folder: Path, suffix: str) -> Path:
    """A file in `folder` that holds `data` and is named by its digest. Written by one atomic rename if it is missing.

    An existing path is used only if it is a regular file (not a link) with exactly this content.

    Raises:
      ReLopeError: the file cannot be written.
    """
    folder = local_path(folder)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}{suffix}"
    try:
        if not _is_regular(path) or image_digest(path) != digest:  # absent, truncated by a power cut, or foreign
            folder.mkdir(parents=True, exist_ok=True)
            _write_new(folder / f".{path.name}.{secrets.token_hex(4)}", data, path)
    except OSError as error:
        raise ReLopeError(
            f"cannot unpack images to {folder}: {error.strerror}; choose another folder with "
            "--config.dataset.image_cache=..."
        ) from error
    return path


def _is_regular(path: Path) -> bool:
    """Whether `path` itself is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _write_new(scratch: Path, data: bytes, path: Path) -> None:
    """Write `data` to `scratch`, which must not exist, not even as a link, and rename it to `path`."""
    try:
        with open(scratch, "xb") as file:
            file.write(data)
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def report_missing(samples: Sequence[Sample]) -> None:
    """Print how many samples lack an image in their row and how many image files are missing, one line for each."""
    if lacking := [sample for sample in samples if sample.missing]:
        first = f"the first {shortened(lacking[0].sample_id, 60)}: {lacking[0].missing}"
        print(f"{len(lacking)} of {len(samples)} questions cannot be asked and are left out; {first}")
    images = dict.fromkeys(image for sample in samples for image in sample.images)
    if absent := [image for image in images if not os.path.isfile(image)]:
        other = alike(absent[0])
        hint = f" (there is {shortened(other, 60)})" if other else ""
        first = f"the first {shortened(absent[0], 180)}{hint}"
        print(f"{len(absent)} of {len(images)} image files are missing, their questions are left out; {first}")
