r"""Values of mathematical answers in LaTeX or plain text, and when two values are equal.

`read(r"\frac{1}{2}")`, `read("0.5")` and `read("50%")` are equal values. Rational numbers stay exact.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from fractions import Fraction

from extract.grading.maths.arithmetic import Number, UnreadableError
from extract.grading.maths.notation import plain, squash, without_words
from extract.grading.maths.parser import MAX_LENGTH
from extract.grading.maths.values import Value, parse
from extract.grading.reading.words import in_digits

# What could be a number inside a sentence. It does not follow a letter or a sign without a space, as in x2 and a*3.
_SPAN = re.compile(
    r"(?<![a-z0-9_.\\`*/^])(?<!\d:)(?:[-+(\[{.]\s*)*(?:\d|frac\b|sqrt\b|pi\b)(?:\d|[-+*/^(){}:!%.\s]|frac|sqrt|pi\b)*"
)
_LABELLED = re.compile(r"[a-e]`")  # "d\\sqrt{7}" may be a letter and the text of a choice
# "x = 1" of "x = 1, y = 2" or of "x = 1 or x = 2"
_ASSIGNMENT = re.compile(r"\s*([a-zα-ω](?:_?\{?\w+\}?)?)\s*=\s*([^=]+?)\s*")  # noqa: RUF001
_BETWEEN_ASSIGNMENTS = re.compile(r",\s*and\b|[,;]|\band\b|\bor\b")
_MARKS = " .:,;!+*/^-"


def read(text: str) -> Value | None:
    """The value of a text that is one mathematical answer, ignoring units and "x ="; None for any other text."""
    return next(iter(_sides(text)), None)


def same(reference: str, response: str) -> bool:
    """Whether two texts have equal values, or are the same expression when they have none."""
    wanted = read(reference)
    return (wanted is not None and same_value(wanted, response)) or squash(response) == squash(reference) != ""


def same_value(wanted: Value, response: str) -> bool:
    """Whether a text gives this value; either side of an approximation counts."""
    return any(equal(wanted, given) for given in _sides(response))


def key(text: str) -> str:
    """A canonical text for answers equal to two decimals (two digits below 1), so that they can be counted."""
    value = read(text)
    if value is None or value.symbolic:
        return squash(text)
    parts = [_shown(part) for part in value.parts]
    return ", ".join(sorted(parts) if value.unordered else parts)


def spans(text: str) -> list[str]:
    """The readable numbers and numeric expressions inside a sentence, in plain notation, from left to right."""
    found = (_trimmed(match[0]) for match in _SPAN.finditer(in_digits(plain(text[-2000:]))))
    return [span for span in found if _value(span)]


def equal(reference: Value, response: Value) -> bool:
    """Mathematical equality; a decimal may be rounded to two or more digits after the point."""
    if len(reference.parts) != len(response.parts) or reference.shape != response.shape:
        return False
    if len(reference.elsewhere) != len(response.elsewhere):  # only one of them has variables
        return False
    points = zip((reference.parts, *reference.elsewhere), (response.parts, *response.elsewhere), strict=True)
    return all(_equal_at(ours, theirs, reference, response) for ours, theirs in points)


def _equal_at(ours: Sequence[Number], theirs: Sequence[Number], reference: Value, response: Value) -> bool:
    """Equality of the parts at given values of the variables."""
    if reference.unordered or response.unordered:
        ours, theirs = sorted(ours), sorted(theirs)
    if all(_close(a, b, reference, response) for a, b in zip(ours, theirs, strict=True)):
        return True
    if not response.percent or reference.percent:
        return False
    share = dataclasses.replace(response, decimals=response.decimals and response.decimals + 2)  # 25% is also 1/4
    return all(_close(a, b / 100, reference, share) for a, b in zip(ours, theirs, strict=True))


def _close(a: Number, b: Number, reference: Value, response: Value) -> bool:
    """Whether two numbers are equal, or one rounds to the other."""
    exact, given = _float(a), _float(b)
    if a == b or math.isclose(exact, given, rel_tol=1e-9, abs_tol=1e-12):
        return True
    if reference.symbolic or response.symbolic:
        return False
    distance = abs(exact - given)
    if response.decimals:
        rounded = response.decimals >= 2 and distance <= 0.5 * 10**-response.decimals * (1 + 1e-9)
        return rounded or (f"{exact:.2f}" == f"{given:.2f}" and distance <= 0.01 * abs(exact))
    # An exact response in pi or roots may match a reference that was rounded: 20 pi for 62.8.
    return isinstance(b, float) and reference.decimals > 0 and distance <= 0.5 * 10**-reference.decimals


@functools.lru_cache(maxsize=10_000)
def _sides(text: str) -> tuple[Value, ...]:
    r"""The result of an equation: 5 of "x = 5", both sides of "A = 12\pi \approx 37.7", 1 and 2 of "x = 1, y = 2"."""
    if len(text) > MAX_LENGTH:
        return ()
    last = _assigned(plain(text).rstrip(" .,;:"))
    if _LABELLED.match(last):
        return ()
    values = [_value(side) for side in last.split("≈")]
    return tuple(value for value in values if value)


def _assigned(text: str) -> str:
    """The text to the right of the last "=", or of every "=" in a list of assignments."""
    if text.count("=") > 1:
        found = [_ASSIGNMENT.fullmatch(part) for part in _BETWEEN_ASSIGNMENTS.split(text)]
        if len(found) > 1 and all(found):
            names = {match[1] for match in found if match}
            return (" and " if len(names) == 1 else ", ").join(match[2] for match in found if match)
    return text.rpartition("=")[2]


def _value(text: str) -> Value | None:
    """The value of the text as it is, else without units and trailing words, else with letters as variables."""
    whole, *shorter = without_words(text)
    for candidate, letters in ((whole, False), *((part, False) for part in shorter), (whole, True)):
        try:
            return parse(candidate, letters)
        except UnreadableError:
            continue
    return None


def _trimmed(span: str) -> str:
    """A span without punctuation around it and without unbalanced brackets."""
    signed = re.match(r"[ -]*-\s*[\dfsp.(]", span)
    span = span.lstrip(" .:,;!+*/^" if signed else " :,;!+*/^-")
    for opening, closing in ("()", "{}"):
        span = span.rstrip(_MARKS + opening)
        while span.count(opening) < span.count(closing) and span.endswith(closing):
            span = span[:-1].rstrip(_MARKS)
        while span.count(opening) > span.count(closing) and span.startswith(opening):
            span = span[1:].strip()
        if span.count(opening) > span.count(closing):
            span = span[: span.rindex(opening)].rstrip(_MARKS)
    return span


def _shown(number: Number) -> str:
    """Two decimals, or two significant digits below 1. Whole numbers in full."""
    if isinstance(number, Fraction) and number.denominator == 1 and number.numerator.bit_length() < 1000:
        return str(number.numerator)
    value = _float(number)
    text = f"{value:.2f}" if abs(value) >= 1 else f"{value:.2g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _float(number: Number) -> float:
    """The number as a float; infinite when it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
