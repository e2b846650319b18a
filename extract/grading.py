"""Graders: is a response right?"""

from __future__ import annotations

import re

_ARTICLES = {"a", "an", "the"}
# "B", "(b)", "**B**", "B. dog", "Option B", "The answer is B because ..."
_LETTER = re.compile(
    r"^\W*(?P<said>(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?\W*)?(?P<letter>[a-z])(?P<rest>$|\W.*)",
    re.IGNORECASE | re.DOTALL,
)


def normalise(text: str) -> str:
    """Lower case, without surrounding sentence marks, and without articles unless nothing else is left.

    Signs that change a value, as in -5, .5 and $50, stay.
    """
    words = text.strip().lower().strip(" \n\t!?;:,\"'*").rstrip(".").split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def exact_match(response: str, answer: str) -> bool:
    """Equal after `normalise`; an empty response is never right."""
    return bool(normalise(response)) and normalise(response) == normalise(answer)


def multiple_choice(response: str, answer: str, choices: tuple[str, ...]) -> bool:
    """Right when the response names the right choice, by its letter (A, B, ...) or by its text.

    `answer` is a letter or the text of a choice.
    """
    return choice_index(response, choices) == choice_index(answer, choices) is not None


def choice_index(text: str, choices: tuple[str, ...]) -> int | None:
    """Which choice `text` names, or None."""
    for index, choice in enumerate(choices):
        if exact_match(text, choice):
            return index
    match = _LETTER.match(text.strip())
    if match is None or _is_article(match):
        return None
    index = ord(match["letter"].upper()) - ord("A")
    return index if index < len(choices) else None


def _is_article(match: re.Match[str]) -> bool:
    """The "A" of "A big dog" is no letter of a choice; that of "Answer: A" or "A because ..." is."""
    follows = re.match(r" ([a-z]+)", match["rest"])
    return not match["said"] and match["letter"] in "Aa" and bool(follows) and follows[1] != "because"
