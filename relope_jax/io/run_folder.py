"""The folder of a run or a sweep: reads and writes stay inside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import explaining, parse_json, read_bytes
from relope_jax.io.inside import inside, is_plain_path, shown_name


def own_folder(root: Path, name: str, flag: str) -> Path:
    """`root/name`, for a `name` given with the flag `flag`; it may have several parts.

    Raises:
      ReLopeError: it is absolute, or leads out of `root`.
    """
    if not is_plain_path(name):
        raise ReLopeError(f"{flag} is {shown_name(name)}: it must name a folder inside {root}, without '..'")
    return inside(root, name)


def require_no_links(folder: Path) -> None:
    """Raise ReLopeError if there is a symbolic link below `folder`, which need not exist. Call this before writing to a
    folder from an untrusted source, so that nothing is written through a link."""
    with explaining(folder):
        for path in _links(folder):
            raise ReLopeError(f"{path} is a symbolic link, and run folders must not contain links: remove it")


def _links(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                yield path


def read_lines(path: Path) -> list[Any]:
    """The values of a JSON lines file, None for each truncated or damaged line; empty if there is no file.

    Raises:
      ReLopeError: the file is larger than `limits.JSON`, or cannot be read.
    """
    with explaining(path):
        try:
            text = read_bytes(path, limits.JSON).decode(errors="replace")
        except FileNotFoundError:
            return []
    return [_parsed(line, path) for line in text.split("\n") if line.strip()]


def _parsed(line: str, path: Path) -> Any:
    try:
        return parse_json(line, path)
    except ValueError:
        return None
