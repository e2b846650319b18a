"""Text that somebody else wrote: user files, benchmark fields, replies of servers. No torch here."""

from __future__ import annotations

import re
from pathlib import Path

from relope_jax.errors import ReLopeError

_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"
SHORT = 300  # characters of somebody else's text that a message repeats


def read_text(path: Path) -> str:
    """The text of a user's file: UTF-8, with or without a byte order mark, whatever the locale.

    Raises:
      ReLopeError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ReLopeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReLopeError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def has_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which JSON allows and neither UTF-8 nor a tokenizer does."""
    return _SURROGATE.search(text) is not None


def without_surrogates(text: str) -> str:
    """The text with U+FFFD in place of every lone surrogate, so that it can be written and tokenized."""
    return _SURROGATE.sub(REPLACEMENT, text)


def shortened(text: object, limit: int = SHORT) -> str:
    """One line of at most `limit` characters, for messages and reasons."""
    line = " ".join(without_surrogates(str(text)).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
