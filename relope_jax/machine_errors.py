"""One-line messages for operating system errors, including those that libraries wrap in their own exceptions."""

from __future__ import annotations

import errno
import os
import re
import sys

FULL = re.compile("No space left on device|Disk quota exceeded|database or disk is full")
# As worded by C libraries and Rust, inside messages of safetensors, pyarrow, TensorStore, orbax and SQLite.
REFUSED = re.compile(
    "Permission denied|Operation not permitted|Read-only file system|Too many open files|File name too long|"
    "File too large|Input/output error|Stale file handle|attempt to write a readonly database|"
    "unable to open database file|disk I/O error|[Oo][Ss] error [0-9]+|os_error_code"
)
# Errors that name no file but concern a disk, not a network or a program.
ABOUT_DISKS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENAMETOOLONG, errno.EFBIG,
    errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENOSPC,
    errno.EDQUOT,
}  # fmt: skip
OWN_ERRORS = ("safetensors", "sqlite3")  # libraries whose errors derive only from Exception
SHORT = 300  # characters of a library's message


def is_full(error: BaseException) -> bool:
    """Whether an error, from any library, reports a full disk."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or FULL.search(str(error)) is not None


def refusal(error: BaseException) -> str | None:
    """The operating system's error in one line; None for any other error."""
    if isinstance(error, UnicodeEncodeError):
        return _unwritable_name(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    if isinstance(error, OSError | ValueError | RuntimeError) or type(error).__module__.split(".")[0] in OWN_ERRORS:
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
        return "the current directory no longer exists: change to another one"
    where = f" ({' -> '.join(names)})" if names else ""
    return f"{' '.join(str(error.strerror).split())[:SHORT]}{where}"


def _is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _unwritable_name(error: UnicodeEncodeError) -> str | None:
    """A message for a file name that the locale's encoding lacks: Python raises this before the system call."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8" or error.encoding.lower().replace("_", "-") != encoding:
        return None
    name = ascii(error.object)[:SHORT]
    return f"this locale's encoding ({encoding}) cannot name the file {name}: set PYTHONUTF8=1, or a UTF-8 locale"
