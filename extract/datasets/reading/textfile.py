"""Users' text files: UTF-8, read line by line or at once, within size limits."""

from __future__ import annotations

import codecs
import contextlib
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from extract.text import is_lfs_pointer
from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import open_regular

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32 begins like this too


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """`(number, text)` of every line, counted from 1, with any line ending. Only one line is in memory at a time.

    Raises:
      ReLopeError: the file cannot be read, is larger than `limits.TABLE`, is not UTF-8, or is a Git LFS pointer; or a
        line is longer than `limits.JSON`.
    """
    with _opened(path, limits.TABLE) as file:
        number = 0
        while line := file.readline(limits.JSON.bytes + 1):
            limits.JSON.require(len(line), f"{path}:{number + 1} and what follows")
            # Not splitlines(): it would also split at U+2028, which JSON allows inside a text.
            for part in line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
                number += 1
                yield number, _decoded(part, f"{path}:{number}")


def read_text(path: Path) -> str:
    """The text of a file, within `limits.JSON`; raises ReLopeError as `read_lines` does."""
    with _opened(path, limits.JSON) as file:
        return _decoded(file.read(), str(path))


@contextlib.contextmanager
def _opened(path: Path, limit: limits.Limit) -> Iterator[BufferedReader]:
    """A file that looks like UTF-8, positioned after its byte order mark."""
    try:
        with open_regular(path) as file:
            limit.require(os.fstat(file.fileno()).st_size, path)
            head = file.read(64)
            if head[:2] in UTF_16 or b"\0" in head[:4]:  # UTF-16 without its mark is valid UTF-8
                raise ReLopeError(f"{path} is not UTF-8 text: it looks like UTF-16; save it as UTF-8")
            if is_lfs_pointer(head):
                raise ReLopeError(f"{path} is a Git LFS pointer, not the file: fetch it with `git lfs pull`")
            file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
            yield file
    except OSError as error:
        raise ReLopeError(f"cannot read {path}: {error.strerror}") from error


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ReLopeError(f"{where} is not UTF-8 text: {error}; save it as UTF-8") from error
