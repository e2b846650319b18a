"""File names read from untrusted files: checks that they stay inside their folder.

Stores, runs and datasets come from other people. Every file name read from one of them is resolved here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from relope_jax.errors import ReLopeError, one_line

LONGEST_NAME, LONGEST_PATH = 255, 4095  # limits of file systems, in bytes
# Forbidden characters: controls (NUL included), line ends, separators of other systems, and lone surrogates.
_NO_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\\ud800-\udfff]")
SHOWN = 80  # maximum characters of a bad name in a message


def is_plain_name(name: object) -> bool:
    """Whether `name` is a single file or folder name: a string without separators, neither `.` nor `..`."""
    return isinstance(name, str) and "/" not in name and is_plain_path(name)


def is_plain_path(name: object) -> bool:
    """Whether `name` is a relative path with forward slashes, such as `layer-24/hidden/zarr.json`. No part may be
    empty, `.` or `..`, contain a control character or a backslash, or exceed the limits of file systems."""
    if not isinstance(name, str) or _NO_CHARACTER.search(name) or len(name.encode()) > LONGEST_PATH:
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME for part in parts)


def require_plain_path(name: object, where: object) -> str:
    """Return `name` if it is a plain relative path, else raise ReLopeError naming the file `where`."""
    if not is_plain_path(name):
        raise ReLopeError(f"{where} names a file {shown_name(name)}, which is not a path inside its folder")
    return str(name)


def plain(name: object, where: object) -> str:
    """`name` without a trailing slash; `""` is the folder `where` itself.

    Raises:
      ReLopeError: it is neither empty nor a plain relative path.
    """
    return require_plain_path(name.removesuffix("/") if isinstance(name, str) else name, where) if name != "" else ""


def inside(folder: str | Path, name: str) -> Path:
    """The path of `name` in `folder`; `""` is the folder itself. A link that leads out of the folder is refused.

    Args:
      name: a relative path with forward slashes, optionally with a trailing one; it need not exist.

    Raises:
      ReLopeError: it is absolute, contains `..`, is not a valid name, or a symbolic link leads out of the folder.
    """
    folder, relative = Path(folder), plain(name, folder)
    if not relative:
        return folder
    path = folder / relative
    if not leads_inside(folder, path):
        raise ReLopeError(f"{path} is a symbolic link out of {folder}: replace it with its target")
    return path


def leads_inside(folder: str | Path, path: str | Path) -> bool:
    """Whether `path` is in `folder`, after following all links in both."""
    root, real = os.path.realpath(folder), os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def shown_name(name: object) -> str:
    """A name for messages: quoted, printable and truncated."""
    return _cut(ascii(name))


def shown_text(text: object) -> str:
    """Untrusted text for messages: one line, printable and truncated."""
    return _cut(one_line(str(text)[: SHOWN + 1]))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
