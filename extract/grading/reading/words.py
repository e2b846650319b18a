"""Converts number words to digits."""

from __future__ import annotations

import re

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VALUES = {word: value for value, word in enumerate(_ONES)} | {ten: 10 * k for k, ten in enumerate(_TENS, start=2)}
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}

_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ONES[1:10])}))?|{'|'.join(reversed(_ONES))})"
_HUNDREDS = rf"(?:(?:{_SMALL}|a) hundred(?:(?: and)? {_SMALL})?|{_SMALL})"
_NUMBER = re.compile(
    rf"\b(?P<number>(?:(?:{_HUNDREDS}|a) (?:thousand|million|billion)(?:,? (?:and )?)?)*{_HUNDREDS}?)"
    rf"(?:[- ](?P<part>{'|'.join(_PARTS)})s?)?\b(?!-)"
)
_HINT = re.compile(r"[a-z]{3}")


def in_digits(text: str) -> str:
    """A plain text with number words in digits: "twenty-four", "two hundred and five", "three quarters"."""
    return _NUMBER.sub(_digits, text) if _HINT.search(text) else text


def _digits(match: re.Match[str]) -> str:
    words = re.findall(r"[a-z]+", match["number"])
    if not words or words == ["a"]:
        return match[0]
    total, current = 0, 0
    for word in words:
        if word == "hundred":
            current *= 100
        elif word in SCALES:
            total, current = total + current * SCALES[word], 0
        elif word != "and":
            current += 1 if word == "a" else _VALUES[word]
    value = str(total + current)
    tail = " " if match["number"][-1] in " ," else ""
    return f"{value}/{_PARTS[match['part']]}" if match["part"] else value + tail
