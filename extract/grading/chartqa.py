"""ChartQA's relaxed accuracy: numbers within 5 % of the reference, anything else equal without regard to case."""

from __future__ import annotations

import re

from extract.grading import maths
from extract.grading.reading import readable
from extract.grading.statements import sentences, statements
from extract.grading.text import exact_match, normalise
from extract.sample import Sample

TOLERANCE = 0.05
# "12.5", "-3", "25%"; and what the benchmark does not read as numbers: "$1,234", "12.5 million", "3 cm"
_NUMBER = re.compile(r"([-+]?)\s*[$€£]?\s*((?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?)\s*(%?)(?:\s*[A-Za-z]+)?")
_REASONS = re.compile(r"\s*(?:\(|,|;|\b(?:because|since|with|which|as)\b).*", re.IGNORECASE | re.DOTALL)
_LINKED = re.compile(r".*(?:\b(?:is|are|was|were|be|equals)\s|=)\s*(.+)", re.DOTALL)  # "The value is 12.5"


def final_answer(sample: Sample, response: str) -> str:
    """The number or the words that the response settles on, or ""."""
    del sample
    text = _settled(response)
    number = _number(text)
    return normalise(text) if number is None else f"{number:.10g}"


def grade(sample: Sample, response: str) -> bool:
    """Whether the response, or what it settles on, is relaxedly equal to a reference."""
    candidates = (response.strip(), _settled(response))
    return any(relaxed(reference, text) for reference in (sample.answer, *sample.accepted) for text in candidates)


def relaxed(reference: str, text: str) -> bool:
    """The benchmark's rule; a percent sign divides by 100, and lists are compared element by element."""
    references, texts = _elements(reference), _elements(text)
    if references is not None and texts is not None:
        return len(references) == len(texts) and all(map(relaxed, references, texts))
    wanted, given = _number(reference), _number(text)
    if wanted is None or given is None:
        return bool(text) and (reference.strip().lower() == text.lower() or exact_match(text, reference))
    return abs(given - wanted) <= TOLERANCE * abs(wanted)


def _elements(text: str) -> list[str] | None:
    """The elements of "[a, b]", else None."""
    inside = re.fullmatch(r"\[(.+)\]\.?", text.strip(), re.DOTALL)
    return [part.strip(" '\"") for part in inside[1].split(",")] if inside else None


def _number(text: str) -> float | None:
    """The number that a text is, else None."""
    match = _NUMBER.fullmatch(text.strip().rstrip("."))
    if match is None:
        return None
    value = float(match[1] + match[2].replace(",", ""))
    return value / 100 if match[3] else value


def _settled(response: str) -> str:
    """What the response announces, else the whole of a short one, else what its last sentence says to be."""
    text = readable(response)
    if announced := statements(text):
        return _answer((sentences(announced[0]) or [""])[0])
    last = (sentences(text) or [""])[-1]
    if re.match(r"(?:yes|no)\b", last, re.IGNORECASE):
        return _answer(last)
    if said := _LINKED.match(last):
        return _answer(said[1])
    return text if len(text.split()) <= 4 else _answer(last)


def _answer(text: str) -> str:
    """The answer at the beginning of a text: a list, a number, yes or no, or words without their reasons."""
    if _elements(text) is not None or _number(text) is not None:
        return text
    if agreement := re.match(r"(?:yes|no)\b", text, re.IGNORECASE):
        return agreement[0]
    numbers = maths.spans(text)
    if numbers and (len(numbers) == 1 or re.match(r"\W*\d", text)):
        return numbers[0]
    return _REASONS.sub("", text)
