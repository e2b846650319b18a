"""What the operating system refuses, in one line, also when a library met it and says it in its own way."""

from __future__ import annotations

import errno
import os
import re
import sys

FULL = re.compile("No space left on device|Disk quota exceeded|database or disk is full")
# As C libraries and Rust say it, inside messages of safetensors, pyarrow, TensorStore, orbax and SQLite.
REFUSED = re.compile(
    "Permission denied|Operation not permitted|Read-only file system|Too many open files|File name too long|"
    "File too large|Input/output error|Stale file handle|attempt to write a readonly database|"
    "unable to open database file|disk I/O error|[Oo][Ss] error [0-9]+|os_error_code"
)
# Of errors that name no file, those that are about a disk and not about a network or a program.
ABOUT_DISKS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENAMETOOLONG, errno.EFBIG,
    errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENOSPC,
    errno.EDQUOT,
}  # fmt: skip
OF_THEIR_OWN = ("safetensors", "sqlite3")  # libraries whose errors derive from Exception alone
SHORT = 300  # characters of a library's message


def is_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that a disk is full."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or FULL.search(str(error)) is not None


def refusal(error: BaseException) -> str | None:
    """What the operating system refused, in one line; None for an error that is something else."""
    if isinstance(error, UnicodeEncodeError):
        return _unwritable_name(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    if isinstance(error, OSError | ValueError | RuntimeError) or type(error).__module__.split(".")[0] in OF_THEIR_OWN:
        return _of_library(str(error))
    return None


def _of_library(message: str) -> str | None:
    found, line = FULL.search(message) or REFUSED.search(message), " ".join(message.split())[:SHORT]
    if not found:
        return None
    return line if found[0] in line else f"{found[0]}: {line}"


def _of_system(error: OSError) -> str | None:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not names and error.errno not in ABOUT_DISKS:
        return None
    if not names and error.errno == errno.ENOENT and _is_gone():
        return "the current directory is gone: change to one that is there"
    where = f" ({' -> '.join(names)})" if names else ""
    return f"{' '.join(str(error.strerror).split())[:SHORT]}{where}"


def _is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _unwritable_name(error: UnicodeEncodeError) -> str | None:
    """A file name that the locale's encoding does not have: Python raises this before it asks the system."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8" or error.encoding.lower().replace("_", "-") != encoding:
        return None
    name = ascii(error.object)[:SHORT]
    return f"this locale's encoding ({encoding}) cannot name the file {name}: set PYTHONUTF8=1, or a UTF-8 locale"
