"""ChartQA's relaxed accuracy: numbers within 5% of the reference; anything else must be equal, ignoring case."""

# ruff: noqa: RUF001 - models write typographic signs, in many alphabets

from __future__ import annotations

import re

from extract.grading.maths import maths
from extract.grading.maths.notation import bare, merged_thousands
from extract.grading.opening import first_words, opening
from extract.grading.reading.characters import unified
from extract.grading.reading.reading import readable
from extract.grading.reading.statements import sentences, statements
from extract.grading.reading.text import exact_match, normalise
from extract.grading.reading.words import SCALES, in_digits
from extract.sample import Sample

TOLERANCE = 0.05
# "12.5", "-3", "25%", "1/3"; and what the benchmark does not read as a number: "$1,234", "12.5 million", "about 3 cm"
_NUMBER = re.compile(
    r"(?:(?:about|approximately|approx\.?|around|roughly|nearly|almost)\b|[~≈∼])?\s*"
    r"(?P<sign>[-+]?)\s*[$€£¥]?\s*(?P<number>\d[\d,]*\.?\d*(?:e[-+]?\d{1,2})?|\.\d+(?:e[-+]?\d{1,2})?)"
    r"(?:/(?P<below>[1-9]\d*))?\s*(?P<percent>%?)\s*"
    r"(?P<scale>(?:percent|per cent|pct|hundred|thousand|million|billion|trillion)\b)?"
    r"(?:\s*[a-z°][a-z°/^.]*\d?){0,2}",
    re.IGNORECASE,
)
_MIXED = re.compile(r"\b(\d+) ([1-9])/([2-9])\b")  # "3 1/2"
_SCALES = SCALES | dict.fromkeys(("percent", "per cent", "pct"), 0.01)
_NEGATIVE = re.compile(r"^(?:negative|minus)\s+(?=[$€£¥]?\s*[\d.])")
_DECIMAL_COMMA = re.compile(r"(\d+),(\d{1,2})")  # "12,0"; "1,234" has a thousands group
_REASONS = re.compile(r"\s*(?:\(|,|;|\b(?:because|since|with|which|as)\b).*", re.IGNORECASE | re.DOTALL)
_LINKED = re.compile(  # "The value is 12.5"
    r".*(?:\b(?:is|are|was|were|be|equals|gives|makes|leaves|yields|totals|shows)\s(?:\s*(?:clearly|probably|likely)\b)?|=)"
    r"\s*(.+)",
    re.DOTALL,
)
_BEFORE_SO = re.compile(r"^(?:.*[,;])?\s*(?:so|thus|hence|therefore)\b[\s,]*(?=\S)", re.IGNORECASE | re.DOTALL)
_AGREEMENT = re.compile(r"(?:yes|no)\b", re.IGNORECASE)
# A bound, or a number in a name: "before 2010", "12+", "COVID-19"
_COMPARED = re.compile(
    r"\b(?:not|than|least|most|over|under|above|below|between|before|after|until|till|up to|beyond|since"
    r"|more|less|fewer)\b"
    r"|n't\b|[<>≤≥]|\d\+(?!\s*\d)|[a-z]-\d",
    re.IGNORECASE,
)
# What a short answer appends: "12 (2010)", "12 in 2010", "Germany with 12%"
_ADDED = re.compile(
    r"(?<=\S)(?:\s*\([^()]*\)|\s+(?:in|during|for|by)\s+[12]\d{3}|\s+(?:with|at)\s+\S*\d\S*)\.?$", re.IGNORECASE
)
_IN_BRACKETS = re.compile(r"\(([^()]+)\)\.?")


def final_answer(sample: Sample, response: str) -> str:
    """The number or words that the response gives as its answer, or ""."""
    del sample
    text = _given_answer(response)
    numbers = _numbers(text)
    return f"{numbers[0]:.10g}" if numbers else normalise(text)


def grade(sample: Sample, response: str) -> bool:
    """Whether the response, or the answer it gives, matches a reference under relaxed accuracy."""
    candidates = (readable(response), _given_answer(response))
    return any(relaxed(reference, text) for reference in (sample.answer, *sample.accepted) for text in candidates)


def relaxed(reference: str, text: str) -> bool:
    """The benchmark's rule. A percent sign divides by 100; lists are compared element by element."""
    references, texts = _elements(reference), _elements(text)
    if references is not None and texts is not None:
        return len(references) == len(texts) and all(map(relaxed, references, texts))
    wanted, given = _numbers(reference), _numbers(text)
    if not wanted or not given:
        return exact_match(text, reference)
    return any(abs(value - exact) <= TOLERANCE * abs(exact) for exact in wanted for value in given)


def _elements(text: str) -> list[str] | None:
    """The elements of "[a, b]", or None if the text is not such a list."""
    inside = re.fullmatch(r"\[(.+)\]\.?", unified(text).strip(), re.DOTALL)
    return [part.strip(" '\"") for part in inside[1].split(",")] if inside else None


def _numbers(text: str) -> list[float]:
    """The values a text may have: "5 million" may be 5 on an axis in millions, "5 percent" may be 5%. Empty if none."""
    text = in_digits(merged_thousands(bare(unified(text)).replace("\\", "")).lower()).strip().rstrip(".")
    text = _MIXED.sub(lambda match: str(int(match[1]) + int(match[2]) / int(match[3])), _NEGATIVE.sub("-", text))
    match = _NUMBER.fullmatch(text)
    if match is None:
        return []
    number = (
        _DECIMAL_COMMA.sub(r"\1.\2", match["number"]) if _DECIMAL_COMMA.fullmatch(match["number"]) else match["number"]
    )
    value = float(match["sign"] + number.replace(",", "")) / int(match["below"] or 1)
    value = value / 100 if match["percent"] else value
    return [value, value * _SCALES[match["scale"]]] if match["scale"] else [value]


def _given_answer(response: str) -> str:
    """The announced answer, else the first words if the rest explains them, else the answer in the last sentence."""
    text = readable(response)
    if announced := statements(text):
        return _answer((sentences(announced[0]) or [""])[0])
    if first := opening(text) or first_words(text):
        return _answer(first)
    last = _BEFORE_SO.sub("", (sentences(text) or [""])[-1])
    if agreement := _AGREEMENT.match(last):
        return agreement[0]
    if said := _LINKED.match(last):
        return _answer(said[1])
    return _short(text) if len(text.split()) <= 4 and "\n" not in text else _answer(last)


def _short(text: str) -> str:
    """The only number in a few words, as in "In 2010" and "~12 cm", or all the words, without appended remarks."""
    text = _ADDED.sub("", text)
    if in_brackets := _IN_BRACKETS.fullmatch(text):
        text = in_brackets[1]
    numbers = maths.spans(text)
    return numbers[0] if len(numbers) == 1 and not _numbers(text) and not _COMPARED.search(text) else text


def _answer(text: str) -> str:
    """The answer at the start of a text: a list, a number, yes or no, or words without the reasons that follow."""
    if _elements(text) is not None or _numbers(text):
        return text
    if agreement := _AGREEMENT.match(text):
        return agreement[0]
    numbers = maths.spans(text)
    if numbers and (len(numbers) == 1 or re.match(r"\W*\d", text)):
        return numbers[0]
    return _REASONS.sub("", text)
