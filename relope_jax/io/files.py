"""File helpers: checksums, publishing by atomic rename, and one-line messages for disk errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.machine_errors import is_full, refusal

CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}  # fsync is not supported
CLAIM_SECONDS = 10.0  # older claims were left by killed processes


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading; a pipe, a device or a folder would hang or never end.

    Raises:
      OSError: it cannot be opened; EISDIR for a folder and EINVAL for a pipe, a device or a socket.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a device or a pipe, not a file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | Path, limit: limits.Limit | None = None) -> bytes:
    """The bytes of a regular file.

    Raises:
      OSError: as `open_regular`.
      ReLopeError: it is larger than the limit.
    """
    with open_regular(path) as file:
        if limit:
            limit.require(os.fstat(file.fileno()).st_size, path)
        return file.read()


def sha256(path: Path) -> str:
    """Hex SHA-256 of a regular file, read in blocks."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(folder: Path) -> list[str]:
    """Relative paths of all files below `folder`, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def tree_checksums(folder: Path) -> dict[str, str]:
    """`{relative path: sha256}` of every file below `folder`, sorted by path."""
    return {name: sha256(folder / name) for name in tree(folder)}


def fsync(path: Path) -> None:
    """Flush a file or a directory to disk, so that a later rename is durable. Does nothing on disks without fsync."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if path.is_dir():  # some network disks cannot open a directory
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH and not (path.is_dir() and error.errno in (errno.EACCES, errno.EPERM)):
            raise
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Flush every file and directory below `folder`, and `folder` itself."""
    for path in folder.rglob("*"):
        fsync(path)
    fsync(folder)


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder and its contents. Links are not followed; a missing path is not an error."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_new(path: Path, data: bytes) -> None:
    """Write a new file; raises FileExistsError if the path exists, even as a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)


def publish(scratch: Path, target: Path) -> None:
    """Give a finished file or folder its final name, atomically and durably."""
    fsync_tree(scratch) if scratch.is_dir() else fsync(scratch)
    os.replace(scratch, target)
    fsync(target.parent)


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it atomically becomes `folder` when the block ends without an error."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    remove(scratch)  # left by a killed process; a link is not followed
    scratch.mkdir(parents=True)
    try:
        yield scratch
        publish(scratch, folder)
    except BaseException:
        with contextlib.suppress(OSError):  # the disk may be full
            remove(scratch)
        raise


@contextlib.contextmanager
def explaining(place: object) -> Iterator[None]:
    """Turn operating system errors in the block, including those that libraries wrap, into one ReLopeError.

    Args:
      place: the folder, file or store to name in the message.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ReLopeError):
            raise
        if is_full(error):
            raise ReLopeError(
                f"the disk of {place} is full: free some space and run the same command again; finished work is kept"
            ) from error
        if line := refusal(error):
            raise ReLopeError(f"cannot use {place}: {line}") from error
        raise


def require_writable(folder: Path) -> None:
    """Raise ReLopeError if no file can be created in `folder`, which need not exist yet. Leaves nothing behind."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    probe = folder / f".{secrets.token_hex(4)}.tmp"
    with explaining(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_new(probe, b"relope")  # a full disk may still create an empty file
            probe.unlink()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
            for path in made:
                with contextlib.suppress(OSError):  # another process may already use it
                    path.rmdir()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old or the new content. Concurrent writers are allowed."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new(scratch, data)
        publish(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def create_bytes(path: Path, data: bytes) -> None:
    """Like `write_bytes`, but only if the file does not exist; of several concurrent callers one succeeds."""
    if path.exists():
        return
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new(scratch, data)
        fsync(scratch)
        try:
            os.link(scratch, path)
        except FileExistsError:
            return
        except OSError:  # no hard links on this disk: exFAT, SMB, FUSE and others raise different errors
            _create_by_claim(path, scratch)
        fsync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def _create_by_claim(path: Path, scratch: Path) -> None:
    """Rename `scratch` to `path` unless `path` exists. Only the process that creates the claim file may rename.

    The content is complete before the rename, so a process killed here leaves at most a claim, which expires.
    """
    claim = path.with_name(f".{path.name}.claim")
    deadline = time.monotonic() + CLAIM_SECONDS
    while not path.exists():
        try:
            write_new(claim, b"")
        except FileExistsError:
            if time.monotonic() > deadline:
                claim.unlink(missing_ok=True)
                deadline = time.monotonic() + CLAIM_SECONDS
            time.sleep(0.05)
            continue
        try:
            if not path.exists():
                os.replace(scratch, path)
        finally:
            claim.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; lone surrogates, as in odd file names, become escapes."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def parse_json(data: bytes | str, what: object) -> Any:
    """Parse untrusted JSON; `what` names it in messages.

    Raises:
      ValueError: it is not JSON, not UTF-8, or nested more deeply than any of our files.
      ReLopeError: it is longer than `limits.JSON`.
    """
    limits.JSON.require(len(data), what)
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not _is_shallow(value):
        raise ValueError("it is nested too deeply")
    return value


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(limits.DEEPEST):
        nested = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [child for children in nested for child in children if isinstance(child, dict | list)]
        if not level:
            return True
    return False


def read_json(path: Path) -> Any:
    """Read one of our JSON files.

    Raises:
      FileNotFoundError: the file does not exist.
      ReLopeError: it cannot be read, is damaged, or is larger than `limits.JSON`.
    """
    try:
        return parse_json(read_bytes(path, limits.JSON), path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ReLopeError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ReLopeError(
            f"{path} is damaged ({first_line(error)}): restore it, or delete it and run the same command again"
        ) from error


def to_json(value: Any) -> str:
    """JSON in the format of all our files, keys in the given order."""
    return json.dumps(value, indent=2) + "\n"


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, to_json(value))
