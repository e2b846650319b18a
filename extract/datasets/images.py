"""Images embedded in a table become files, once, named by what they hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from relope_jax.errors import ReLopeError
from relope_jax.paths import local_path

SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}


def unpack(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The row with each embedded image replaced by the path of a file in `folder`.

    An image that is only named (`bytes` is null) stays a path, relative to its table.
    """
    return {name: _as_file(value, folder) if _is_image(value) else value for name, value in fields.items()}


def _is_image(value: Any) -> bool:
    """How the `datasets` package stores an image in Parquet."""
    return isinstance(value, dict) and value.keys() == {"bytes", "path"}


def _as_file(image: dict[str, Any], folder: Path) -> Path | str | None:
    data = image["bytes"]
    if data is None:
        return image["path"]
    suffix = next((suffix for mark, suffix in SUFFIXES.items() if data.startswith(mark)), "")
    return save_image(data, folder, suffix)


def save_image(data: bytes, folder: Path, suffix: str) -> Path:
    """A file in `folder` that holds `data` and is named by its digest; written by one rename, where it is not there.

    Raises:
      ReLopeError: it cannot be written.
    """
    folder = local_path(folder)
    path = folder / f"{hashlib.sha256(data).hexdigest()}{suffix}"
    try:
        if not path.exists() or path.stat().st_size != len(data):  # absent, or torn by a power cut
            folder.mkdir(parents=True, exist_ok=True)
            scratch = folder / f".{path.name}.{os.getpid()}"
            scratch.write_bytes(data)
            os.replace(scratch, path)
    except OSError as error:
        raise ReLopeError(
            f"cannot unpack images to {folder}: {error.strerror}; name another folder with "
            "--config.dataset.image_cache=..."
        ) from error
    return path
