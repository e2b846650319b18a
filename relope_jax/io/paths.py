"""User-given paths: expands `~` and `~user`, and leaves URLs unchanged.

Environment variables are not expanded: `$` is legal in file names, and the shell expands them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from relope_jax.errors import ReLopeError


def is_url(text: str | Path) -> bool:
    """Whether `text` starts with a scheme, as in `s3://bucket/prefix`."""
    return "://" in str(text)


def expand(path: str | Path) -> str:
    """Expand a leading `~` or `~user`; any other path, or a URL, is returned unchanged.

    Raises:
      ReLopeError: there is no such home folder, or the path contains a null character.
    """
    text = str(path)
    if "\0" in text:
        raise ReLopeError(f"the path {text!r} contains a null character: remove it")
    if not text.startswith("~") or is_url(text):
        return text
    home, _, rest = text.partition("/")
    return os.path.join(_home(home), rest) if rest else _home(home)


def _home(tilde: str) -> str:
    """The folder of `~` or `~user`."""
    home = os.environ.get("HOME") if tilde == "~" else None
    if not home:  # not set, or empty
        home = _recorded_home(tilde)
    if not os.path.isabs(home):
        raise ReLopeError(
            f"the home folder of {tilde} is unknown: give the full path (or ./{tilde} for a file of that name)"
        )
    return home


def _recorded_home(tilde: str) -> str:
    """The home folder in the system's user database; empty if the user is not in it."""
    import pwd  # absent on systems without a user database

    try:
        return pwd.getpwnam(tilde[1:]).pw_dir if tilde[1:] else pwd.getpwuid(os.getuid()).pw_dir
    except (KeyError, ValueError, UnicodeError):
        return ""


def local_path(path: str | Path) -> Path:
    """`expand` as a Path; raises ReLopeError as `expand` does."""
    return Path(expand(path))


def expand_fields(spec: Any, *fields: str) -> None:
    """Expand these string fields of a frozen dataclass, in its `__post_init__`."""
    for field in fields:
        object.__setattr__(spec, field, expand(getattr(spec, field)))


def absolute(path: str | Path) -> str:
    """The absolute path; a URL is unchanged."""
    return str(path) if is_url(path) else os.path.abspath(expand(path))


def absolute_if_local(text: str) -> str:
    """The absolute path of a file or folder on this machine; a hub name, or any other text, is unchanged."""
    return absolute(text) if text and os.path.exists(expand(text)) else text


def folder_name(path: str | Path) -> str:
    """The name of a file or folder, however its path is written: `data/../x/`, `./x`, and `.` inside it give `x`."""
    whole = absolute(path)
    return os.path.basename(os.path.realpath(whole) if os.path.isdir(whole) else whole)
