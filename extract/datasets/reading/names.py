"""Finds files by the names in tables, which may come from another operating system."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from pathlib import Path

from extract.datasets.reading.fence import Fence
from extract.datasets.reading.values import shown

LONGEST, DEEPEST = 255, 4095  # characters that file systems allow in a name and in a path
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def find_file(folder: Path, name: str, fence: Fence) -> Path:
    r"""The file called `name` in `folder`; if there is none, the path that it would have.

    The exact name is tried first. Then `sub\x.png` matches `sub/x.png`, and accented letters match in either Unicode
    form. Case always matters: x.png and X.png may be two images.

    Raises:
      ValueError: an absolute Windows path, a text that is not a path, or a file outside of the fence. The message
        continues "the field is".
    """
    path = _find(folder, name, fence)
    if problem := fence.problem(path):
        raise ValueError(f"{shown(name)}, {problem}")
    return path


def _find(folder: Path, name: str, fence: Fence) -> Path:
    path = folder / name
    if "\0" not in name and os.path.exists(path):
        return path
    if _DRIVE.match(name):
        raise ValueError(f"{shown(name)}, an absolute Windows path: write it relative to the table")
    if "\\" in name:
        path = folder / name.replace("\\", "/")
    longest = max(map(len, re.split(r"[\\/]", name)))
    if "\0" in name or len(name) > DEEPEST or longest > LONGEST:
        raise ValueError(f"{shown(name)}, which is neither a path nor an encoded image")
    as_named = name.isascii() or os.path.exists(path) or not fence.allows(path)
    return path if as_named else _recomposed(path)


def _recomposed(path: Path) -> Path:
    """The existing path whose names differ only in their Unicode form; `path` when there is none."""
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        there = found / part
        found = there if os.path.exists(there) else found / _names(found).get(_composed(part), part)
    return found


def alike(path: Path) -> str:
    """The name of a file in the same folder that differs from `path` only in case, or ""."""
    key = _composed(path.name).casefold()
    return next((name for composed, name in _names(path.parent).items() if composed.casefold() == key), "")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _names(folder: Path) -> dict[str, str]:
    """The names in a folder by their composed forms; empty when the folder cannot be read."""
    try:
        return _listing(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=64)
def _listing(folder: Path, changed: int) -> dict[str, str]:
    return {_composed(name): name for name in sorted(os.listdir(folder), reverse=True)}
