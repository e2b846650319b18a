"""The folders that a dataset may read. They are its own: a foreign table may name any file, and images are uploaded."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from extract.text import shortened
from relope_jax.errors import ReLopeError

SETTING = "--config.dataset.outside=true"
_CACHED = re.compile(r"(.*/(?:datasets|models)--[^/]+)/snapshots/[^/]+(?:/.*)?")  # the hub's cache: all files are links


@dataclasses.dataclass(frozen=True)
class Fence:
    """Where a dataset's files may be.

    Attributes:
      folders: the dataset's own, with links resolved. Everything below them is allowed, except links that lead out.
      outside: whether files anywhere may be read.
    """

    folders: tuple[str, ...] = ()
    outside: bool = False
    _real_folders: dict[str, str] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def around(*folders: str | Path, outside: bool = False) -> Fence:
        """The fence around these folders. For a snapshot in the hub's cache it is the repository's whole cache."""
        return Fence(tuple(os.path.realpath(_repository(os.path.abspath(folder))) for folder in folders), outside)

    def allows(self, path: Path) -> bool:
        """Whether the file may be read. It need not exist."""
        return self.outside or any(_is_below(folder, self._real(path)) for folder in self.folders)

    def problem(self, path: Path) -> str:
        """Why a file may not be read and what to do; "" when it may be read."""
        if self.allows(path):
            return ""
        own = f" {shortened(self.folders[0], 120)}" if self.folders else ""
        return f"outside of the dataset's folder{own}: put the file there, or allow other places with {SETTING}"

    def require(self, path: Path) -> Path:
        """Return `path` if it may be read, else raise ReLopeError."""
        if problem := self.problem(path):
            raise ReLopeError(f"{shortened(path, 180)} is {problem}")
        return path

    def _real(self, path: Path) -> str:
        """`path` with all links resolved. The links of a folder are resolved once for all files in it."""
        if ".." in path.parts:
            return os.path.realpath(path)
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        whole = os.path.join(self._real_folders[folder], name)
        return os.path.realpath(whole) if os.path.islink(whole) else whole


def _repository(folder: str) -> str:
    found = _CACHED.fullmatch(folder)
    return found[1] if found else folder


def _is_below(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
