"""Plain comparison of short texts."""

from __future__ import annotations

_ARTICLES = {"a", "an", "the"}


def normalise(text: str) -> str:
    """Lower case, without surrounding sentence marks, and without articles unless nothing else is left.

    Signs that change a value, as in -5, .5 and $50, stay.
    """
    words = text.strip().lower().strip(" \n\t!?;:,\"'*").rstrip(".").split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def exact_match(response: str, answer: str) -> bool:
    """Equal after `normalise`; an empty response is never right."""
    return bool(normalise(response)) and normalise(response) == normalise(answer)
