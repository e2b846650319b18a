"""Small file helpers: checksums and publishing by atomic rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from relope_jax.errors import ReLopeError


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_checksums(folder: Path) -> dict[str, str]:
    """`{relative path: sha256}` of every file below `folder`, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256(p) for p in files}


def fsync(path: Path) -> None:
    """Flush a file or a directory to disk, so that a rename after it is durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Flush every file and directory below `folder`, and `folder` itself."""
    for path in folder.rglob("*"):
        fsync(path)
    fsync(folder)


def lock_folder(folder: Path) -> IO[str]:
    """Take the folder's lock until the returned file is closed or the process ends.

    Raises:
      ReLopeError: another process holds it.
    """
    lock = open(folder / ".lock", "w")  # noqa: SIM115 - held open on purpose
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ReLopeError(f"another process is writing {folder}: wait for it, or stop it") from error
    return lock


def publish(scratch: Path, target: Path) -> None:
    """Make a finished file or folder visible under its name in one step, durably."""
    fsync_tree(scratch) if scratch.is_dir() else fsync(scratch)
    os.replace(scratch, target)
    fsync(target.parent)


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """A fresh folder to fill, which becomes `folder` in one step when the block ends without an error."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    publish(scratch, folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never a part."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text)
    publish(scratch, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in the given order."""
    write_text(path, json.dumps(value, indent=2) + "\n")
