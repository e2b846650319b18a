"""Text from outside: user files, benchmark fields, server replies. No torch here."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"
# Terminal escape sequences: colours, cursor moves, titles, links; with ESC or as one C1 character.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90-\x9f\n]*(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/]*[0-~]"
)
_LINE_END = re.compile("[\x0b\x0c\x85]")
# All control characters except tab and line ends, and characters that change the direction of the text around them.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LFS_POINTER = b"version https://git-lfs"
SHORT = 300  # maximum characters of foreign text in a message


def is_lfs_pointer(data: bytes) -> bool:
    """Whether a file that starts with `data` is a Git LFS pointer, left where a large file was not fetched."""
    return data.startswith(LFS_POINTER)


def has_surrogate(text: str) -> bool:
    """Whether a text contains a lone surrogate, which JSON allows but neither UTF-8 nor a tokenizer does."""
    return _SURROGATE.search(text) is not None


def without_surrogates(text: str) -> str:
    """The text with U+FFFD in place of every lone surrogate, so that it can be written and tokenized."""
    return _SURROGATE.sub(REPLACEMENT, text)


def clean_text(text: str) -> str:
    """The text of a model or server in the form in which it is stored, graded and shown.

    Lone surrogates become U+FFFD; vertical tabs, form feeds and U+0085 become line ends. Terminal escape sequences, NUL
    and all other control characters but tab, LF and CR are dropped, and so are bidirectional embeddings, overrides and
    isolates (U+202A to U+202E, U+2066 to U+2069). Cleaning twice changes nothing.
    """
    text = _LINE_END.sub("\n", _ESCAPE.sub("", without_surrogates(text)))
    return _CONTROL.sub("", text)


def shortened(text: object, limit: int = SHORT) -> str:
    """One clean line of at most `limit` characters, for messages and reasons."""
    line = " ".join(clean_text(str(text)).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
