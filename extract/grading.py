"""Graders: is a response right?"""

from __future__ import annotations

import re
import string

# "B", "(b)", "B. dog", "Answer: B", "The answer is B."; but not the article of "A big dog".
_LETTER = re.compile(
    r"^\W*(?:(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?\W*)?([A-Z])(?:$|[.:),])", re.IGNORECASE
)


def normalise(text: str) -> str:
    """Lower case, without surrounding space, punctuation and articles."""
    words = text.strip().lower().strip(string.punctuation + " \n").split()
    return " ".join(word for word in words if word not in {"a", "an", "the"})


def exact_match(response: str, answer: str) -> bool:
    """Equal after `normalise`."""
    return normalise(response) == normalise(answer)


def multiple_choice(response: str, answer: str, choices: tuple[str, ...]) -> bool:
    """Right when the response names the right choice, by its letter (A, B, ...) or by its text.

    `answer` is a letter or the text of a choice.
    """
    return _choice_index(response, choices) == _choice_index(answer, choices) is not None


def _choice_index(text: str, choices: tuple[str, ...]) -> int | None:
    for index, choice in enumerate(choices):
        if exact_match(text, choice):
            return index
    match = _LETTER.match(text.strip())
    index = ord(match.group(1).upper()) - ord("A") if match else -1
    return index if 0 <= index < len(choices) else None
