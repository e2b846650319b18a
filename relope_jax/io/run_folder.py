"""The folder of a run or a sweep: what is read in it and written to it stays in it."""

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
    """`root/name`, for a name that a user gave with `flag`; it may have several parts, all of them plain.

    Raises:
      ReLopeError: it is absolute, or climbs out of `root`.
    """
    if not is_plain_path(name):
        raise ReLopeError(f"{flag} is {shown_name(name)}: it must name a folder inside {root}, without '..'")
    return inside(root, name)


def require_no_links(folder: Path) -> None:
    """Raise ReLopeError when a symbolic link is anywhere below `folder`, which need not exist; who writes in a folder
    that came from elsewhere asks first, so that nothing is written through a link."""
    with explaining(folder):
        for path in _links(folder):
            raise ReLopeError(f"{path} is a symbolic link, and nothing is written in a folder with links: remove it")


def _links(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                yield path


def read_lines(path: Path) -> list[Any]:
    """What every line of a file of JSON lines holds; None for a torn or damaged one. No lines where there is no file.

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
