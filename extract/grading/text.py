"""Plain comparison of short texts."""

from __future__ import annotations

import re

from extract.grading.characters import unified

_ARTICLES = {"a", "an", "the"}
_INDEX = re.compile(r"(?<=[^\W\d_])\$?_\{?(\d{1,3})\}?\$?(?![\d.])")  # "H$_2$O", "H_{2}O"
_POWER = re.compile(r"\^\{(-?\w+)\}")  # "x^{2}"


def normalise(text: str) -> str:
    """Lower case, without surrounding sentence marks, and without articles unless nothing else is left.

    Characters are in one form (see characters.py). Signs that change a value, as in -5, .5, x^2 and $50, stay.
    """
    text = _POWER.sub(r"^\1", _INDEX.sub(r"\1", unified(text)))
    words = text.strip().casefold().strip(" \n\t!?;:,\"'*").rstrip(".。").strip(" \"'").split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def exact_match(response: str, answer: str) -> bool:
    """Equal after `normalise`; an empty response is never right."""
    return bool(normalise(response)) and normalise(response) == normalise(answer)
