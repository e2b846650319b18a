"""Datasets without choices or their own grading rule: the response must be the answer, word for word.

Numbers are compared by value: "two", "2" and "2.0" are equal. The sentence "The answer is red." does not match "red",
but an answer that the model marks with a box or a tag does.
"""

from __future__ import annotations

import re
from fractions import Fraction

from extract.grading.maths.notation import bare, merged_thousands
from extract.grading.reading.reading import readable
from extract.grading.reading.statements import marked
from extract.grading.reading.text import normalise, same_text
from extract.grading.reading.words import in_digits
from extract.sample import Sample

# A whole number or a decimal; "007" is a code, not a number.
_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?|[-+]?\.\d+")


def final_answer(sample: Sample, response: str) -> str:
    """The normalised words of the response, or of the answer that it marks; "" when there are none."""
    return _key(said(response, (sample.answer, *sample.accepted)))


def grade(sample: Sample, response: str) -> bool:
    """Whether the response is one of the sample's answers, ignoring case, articles and punctuation."""
    answers = (sample.answer, *sample.accepted)
    if any(same_text(response, answer) for answer in answers):
        return True
    accepted = {_key(bare(spelling)) for answer in answers for spelling in _spellings(answer)} - {""}
    return any(_key(said(spelling, answers)) in accepted for spelling in _spellings(response))


def said(response: str, keep: tuple[str, ...] = ()) -> str:
    """The part of a response that is graded: the answer that it marks, or else all of it.

    Tags and code marks that occur in `keep` (the choices or references) are not removed.
    """
    text = readable(response, keep)
    return bare(marked(text) or text)


def _spellings(text: str) -> set[str]:
    """A soft hyphen may mean nothing or a hyphen: "so\u00adft", "co\u00adop"."""
    return {text, text.replace("\u00ad", "-")}


def _key(text: str) -> str:
    """The key on which equal answers agree: normalised words, or the value of a number in digits or words."""
    words = normalise(text)
    number = merged_thousands(in_digits(words))  # "1 000"
    return str(Fraction(number.replace(",", ""))) if _NUMBER.fullmatch(number) else words
