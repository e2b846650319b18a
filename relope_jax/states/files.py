"""Small file helpers: checksums and publishing by atomic rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from relope_jax.errors import ReLopeError


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(folder: Path) -> list[str]:
    """Relative paths of all files below `folder`, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def tree_checksums(folder: Path) -> dict[str, str]:
    """`{relative path: sha256}` of every file below `folder`, sorted by path."""
    return {name: sha256(folder / name) for name in tree(folder)}


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


class Locked(ReLopeError):
    """Another process holds a lock."""

    def __init__(self, what: str):
        super().__init__(f"another process is writing {what}: wait for it, or stop it")


def lock_folder(folder: Path, name: str = ".lock") -> IO[str]:
    """Take a lock of the folder until the returned file is closed or the process ends.

    Raises:
      Locked: another process holds it.
    """
    lock = open(folder / name, "w")  # noqa: SIM115 - held open on purpose
    for wait in (0.1, 0.2, 0.4, 0.0):  # a process that asks `is_locked` holds it for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            time.sleep(wait)
    lock.close()
    raise Locked(str(folder))


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock file `path`."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


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
    try:
        yield scratch
        publish(scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)  # the disk may be full
        raise


@contextlib.contextmanager
def explaining_full_disk(place: object) -> Iterator[None]:
    """Turn every library's way of saying that the disk is full into one ReLopeError."""
    try:
        yield
    except Exception as error:
        if not re.search("No space left on device|Disk quota exceeded", str(error)):
            raise
        raise ReLopeError(
            f"the disk of {place} is full: make space and run the same command again, what is finished is kept"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; several may write at once."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        scratch.write_bytes(data)
        publish(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def create_bytes(path: Path, data: bytes) -> None:
    """Write a file as `write_bytes` does, unless it is there; of several that try at once one succeeds."""
    if path.exists():
        return
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        scratch.write_bytes(data)
        fsync(scratch)
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
            fsync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode())


def to_json(value: Any) -> str:
    """JSON as all files of ours have it, keys in the given order."""
    return json.dumps(value, indent=2) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, to_json(value))
