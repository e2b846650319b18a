"""MMMU and MMMU-Pro: choices by letter or text; open questions by number, to two decimals, or by words.

The benchmark's own evaluation guesses a choice at random when it finds none. Here such a response is wrong.
"""

from __future__ import annotations

import re

from extract.grading import choices
from extract.grading.expressions import settled
from extract.grading.maths import maths
from extract.grading.maths.notation import plain
from extract.grading.opening import first_words
from extract.grading.reading.reading import readable
from extract.grading.reading.statements import sentences, statements
from extract.grading.reading.text import normalise
from extract.sample import Sample


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the choice, the number or the words that the response gives as its answer, or ""."""
    if sample.choices:
        return choices.final_answer(sample, response)
    text = readable(response)
    return maths.key(settled(text)) if _is_number(sample.answer) else normalise(_answer_in(text))


def grade(sample: Sample, response: str) -> bool:
    """Whether the response gives the right choice, or one of the reference numbers or words."""
    if sample.choices:
        return choices.grade(sample, response)
    text = readable(response)
    return any(_is_right(reference, text) for reference in (sample.answer, *sample.accepted))


def _is_right(reference: str, text: str) -> bool:
    if _is_number(reference):
        return maths.same(reference, settled(text))
    if len(reference) == 1:  # "C" or "step c", but not the "a" of a sentence
        last = rf"{reference}|{reference.lower()}(?=\W*$)"
        return re.search(rf"(?<!\w)(?:{last})(?!\w)", _answer_in(text)) is not None
    words = re.escape(_words(reference))
    return bool(words) and re.search(rf"(?<!\w)(?<!\bnot ){words}(?:s|es)?(?!\w)", _words(_answer_in(text))) is not None


def _is_number(reference: str) -> bool:
    value = maths.read(reference)
    return value is not None and not value.symbolic


def _answer_in(text: str) -> str:
    """The announced answer, else the few words that the response begins with and explains, else the last sentence."""
    if announced := statements(text):
        return (sentences(announced[0]) or [""])[0]
    return first_words(text) or (sentences(text) or [""])[-1]


def _words(text: str) -> str:
    """A text without case, LaTeX and punctuation."""
    return re.sub(r"[^\w+%./-]+", " ", normalise(plain(text))).strip()
