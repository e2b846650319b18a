"""Files by the names that tables give them, which other systems may have written."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from pathlib import Path

from extract.datasets.reading.fence import Fence
from extract.datasets.reading.values import shown

LONGEST, DEEPEST = 255, 4095  # characters that file systems take at most as a name, and as a path
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def find_file(folder: Path, name: str, fence: Fence) -> Path:
    r"""The file called `name` in `folder`; the path as it is named when there is none.

    The exact name counts first. Else `sub\x.png` is `sub/x.png`, and letters with accents match in either of Unicode's
    forms. Upper and lower case always count: x.png and X.png may be two images.

    Raises:
      ValueError: an absolute path of Windows, a text that is no path, or a file outside of the fence; the message goes
        after "the field is".
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
        raise ValueError(f"{shown(name)}, an absolute path of Windows: write it relative to the table")
    if "\\" in name:
        path = folder / name.replace("\\", "/")
    longest = max(map(len, re.split(r"[\\/]", name)))
    if "\0" in name or len(name) > DEEPEST or longest > LONGEST:
        raise ValueError(f"{shown(name)}, neither a path nor an encoded image")
    as_named = name.isascii() or os.path.exists(path) or not fence.allows(path)
    return path if as_named else _recomposed(path)


def _recomposed(path: Path) -> Path:
    """The existing path that differs in the Unicode form of its names alone; `path` when there is none."""
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        there = found / part
        found = there if os.path.exists(there) else found / _names(found).get(_composed(part), part)
    return found


def alike(path: Path) -> str:
    """The name of a file in the same folder that differs from `path` in upper and lower case alone, or ""."""
    key = _composed(path.name).casefold()
    return next((name for composed, name in _names(path.parent).items() if composed.casefold() == key), "")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _names(folder: Path) -> dict[str, str]:
    """The names in a folder by their composed forms; none when it cannot be read."""
    try:
        return _listing(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=64)
def _listing(folder: Path, changed: int) -> dict[str, str]:
    return {_composed(name): name for name in sorted(os.listdir(folder), reverse=True)}
