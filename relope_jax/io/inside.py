"""Names that a file gives to other files: they never lead out of the folder they are meant for.

Stores, runs and data sets come from other people. Code that reads a name in one of them asks here where it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from relope_jax.errors import ReLopeError, one_line

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes that file systems take as a name, and as a path
# Characters that no name has: controls (NUL among them), ends of lines, separators of other systems, and half surrogate
# pairs.
_NO_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\\ud800-\udfff]")
SHOWN = 80  # characters of a bad name in a message


def is_plain_name(name: object) -> bool:
    """Whether `name` is the name of one file or folder: a text without separators that is neither `.` nor `..`."""
    return isinstance(name, str) and "/" not in name and is_plain_path(name)


def is_plain_path(name: object) -> bool:
    """Whether `name` is a relative path with forward slashes, such as `layer-24/hidden/zarr.json`: no part of it is
    empty, `.` or `..`, holds a control character or a backslash, or is longer than a file system takes."""
    if not isinstance(name, str) or _NO_CHARACTER.search(name) or len(name.encode()) > LONGEST_PATH:
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME for part in parts)


def require_plain_path(name: object, where: object) -> str:
    """`name`, when it is a plain relative path; raises ReLopeError, which blames the file `where`, when it is not."""
    if not is_plain_path(name):
        raise ReLopeError(f"{where} names a file {shown_name(name)}, which is no plain name inside its folder")
    return str(name)


def plain(name: object, where: object) -> str:
    """`name` without the slash that it may end in; `""` is the folder `where` itself.

    Raises:
      ReLopeError: it is neither empty nor a plain relative path.
    """
    return require_plain_path(name.removesuffix("/") if isinstance(name, str) else name, where) if name != "" else ""


def inside(folder: str | Path, name: str) -> Path:
    """The path of `name` in `folder`; `""` is the folder itself. Links count: one that leads out is refused.

    Args:
      name: a relative path with forward slashes, which may end in one; it need not exist.

    Raises:
      ReLopeError: it is absolute, climbs with `..`, is no name at all, or a symbolic link leads out of the folder.
    """
    folder, relative = Path(folder), plain(name, folder)
    if not relative:
        return folder
    path = folder / relative
    if not leads_inside(folder, path):
        raise ReLopeError(f"{path} is a symbolic link out of {folder}: replace it with what it stands for")
    return path


def leads_inside(folder: str | Path, path: str | Path) -> bool:
    """Whether `path`, with all links followed, is in `folder`, itself with all links followed."""
    root, real = os.path.realpath(folder), os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def shown_name(name: object) -> str:
    """A name as messages show it: in quotes, printable, and cut."""
    return _cut(ascii(name))


def shown_text(text: object) -> str:
    """A text from elsewhere as messages show it: one line, printable, and cut."""
    return _cut(one_line(str(text)[: SHOWN + 1]))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
