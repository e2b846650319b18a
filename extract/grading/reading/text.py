"""Comparison of short plain texts."""

# ruff: noqa: RUF001, RUF003 - Greek letters

from __future__ import annotations

import re

from extract.grading.reading.characters import unified

_ARTICLES = {"a", "an", "the"}
_INDEX = re.compile(r"(?<=[^\W\d_])\$?_\{?(\d{1,3})\}?\$?(?![\d.])")  # "H$_2$O", "H_{2}O"
_POWER = re.compile(r"\^\{(-?\w+)\}")  # "x^{2}"
_CHARGE = re.compile(r"(?<=[A-Za-z\d)\]}])\^(\{)?\s*(\d?[+-])\s*(?(1)\})(?!\s*[\w(\\])")  # "Na^+", "Ca^{2+}"
_DEGREES = re.compile(r"(?<=\d)\s+(?=°)")  # "10 °C" is "10°C"
_GREEK_NAMES = dict(
    re.findall(
        r"(\w) (\w+)",
        "α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi"
        " ρ rho σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega",
    )
)
# "\alpha" and "α" become "alpha"; a letter inside a Greek word is kept
_GREEK = re.compile(
    rf"\\(?:var)?({'|'.join(_GREEK_NAMES.values())})(?![a-zA-Z])|(?<![^\W\d_])([{''.join(_GREEK_NAMES)}])(?![^\W\d_])",
    re.IGNORECASE,
)


def normalise(text: str) -> str:
    """Lower case, without surrounding punctuation, and without articles unless nothing else is left.

    Characters are normalised (characters.py). Signs that change a value, as in -5, .5, x^2 and $50, are kept.
    """
    text = _DEGREES.sub("", _CHARGE.sub(r"\2", unified(text)))
    text = _POWER.sub(r"^\1", _INDEX.sub(r"\1", text))
    text = _GREEK.sub(_greek_name, text) if "\\" in text or not text.isascii() else text
    words = text.strip().casefold().strip(" \n\t!?;:,\"'*").rstrip(".。").strip(" \"'").split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def _greek_name(match: re.Match[str]) -> str:
    """The name of a Greek letter, separated from an adjacent number or letter: "2α" becomes "2 alpha"."""
    text, start, end = match.string, match.start(), match.end()
    name = (match[1] or _GREEK_NAMES[match[2].casefold()]).lower()
    return (
        " " * text[start - 1 : start].isalnum()
        + name
        + " " * (text[end : end + 1].isalnum() or text[end : end + 1] == "\\")
    )


def same_text(text: str, answer: str) -> bool:
    """Whether both texts are equal, case and punctuation included, after their characters are normalised."""
    short = len(text) <= 4 * len(answer) + 100  # `unified` is slow on a loop of a hundred thousand characters
    return short and unified(text).strip() == unified(answer).strip() != ""


def exact_match(response: str, answer: str) -> bool:
    """Equal after `normalise`; an empty response is never right."""
    return bool(normalise(response)) and normalise(response) == normalise(answer)
