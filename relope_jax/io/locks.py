"""Folder locks, held by the kernel for the lifetime of the process."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import tempfile
import time
from pathlib import Path

from relope_jax.errors import ReLopeError
from relope_jax.machine_errors import is_full

HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}  # EACCES where a network disk emulates flock
_UNPROTECTED: set[str] = set()  # folders on disks without locks for which the warning was printed


class Locked(ReLopeError):
    """Another process holds a lock."""

    def __init__(self, what: str):
        super().__init__(f"another process is writing {what}: wait for it, or stop it")


class Lock:
    """A lock that is held until `close`, or until the process ends."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; may be called more than once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def lock_folder(folder: Path, name: str = ".lock") -> Lock:
    """Lock a folder. The lock file stays; its contents are never changed.

    On a disk without file locks nothing is locked, and a warning is printed to stderr.

    Raises:
      Locked: another process holds it.
      ReLopeError: the lock file is a symbolic link, a pipe or a device.
      OSError: it cannot be created.
    """
    lock = Lock(_open(folder / name))
    try:
        for wait in (0.1, 0.2, 0.4, 0.0):  # a process in `is_locked` holds it briefly
            if _try_lock(lock.descriptor, fcntl.LOCK_EX, folder):
                return lock
            time.sleep(wait)
    except BaseException:
        lock.close()
        raise
    lock.close()
    raise Locked(str(folder))


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock file `path`; False if the disk has no locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would hang
    except OSError:  # already deleted, a link, or another user's
        return False
    with Lock(descriptor):
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and not _try_lock(descriptor, fcntl.LOCK_SH, path.parent)


def is_ordinary(folder: Path) -> bool:
    """Whether a folder's disk supports file locks and flushing folders, which TensorStore and orbax assume."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with Lock(os.open(folder, os.O_RDONLY)) as opened:
            os.fsync(opened.descriptor)
    except OSError as error:
        return is_full(error)  # on a full disk the next write reports it
    return True


def _open(path: Path) -> int:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would hang
    try:
        descriptor = os.open(path, os.O_RDWR | flags, 0o666)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | flags, 0o666)  # another user's lock file in a shared folder
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # EMLINK on FreeBSD
            raise ReLopeError(f"the lock {path} is a symbolic link: delete it") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ReLopeError(f"the lock {path} is a pipe or a device: delete it")
    return descriptor


def _try_lock(descriptor: int, kind: int, folder: Path) -> bool:
    """Whether the lock was acquired, or the disk has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        _warn(folder, error)
    return True


def _warn(folder: Path, error: OSError) -> None:
    if str(folder) not in _UNPROTECTED:
        _UNPROTECTED.add(str(folder))
        print(
            f"warning: the disk of {folder} has no file locks ({error.strerror}): a second process would not be "
            "stopped from writing there, so start only one",
            file=sys.stderr,
        )
