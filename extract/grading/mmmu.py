"""MMMU and MMMU-Pro: a letter or the text of a choice; open questions by number, to two decimals, or by words.

The benchmark's own evaluation draws a choice at random where it finds none; here such a response is wrong.
"""

from __future__ import annotations

import re

from extract.grading import choices, maths
from extract.grading.expressions import settled
from extract.grading.statements import readable, sentences, statements
from extract.grading.text import normalise
from extract.sample import Sample


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the choice, or the number or the words that the response settles on, or ""."""
    if sample.choices:
        return choices.final_answer(sample, response)
    text = readable(response)
    said = _said(text)
    if maths.read(said):
        return maths.key(said)
    return maths.key(settled(text)) if re.search(r"\d", said) and len(said.split()) > 4 else normalise(said)


def grade(sample: Sample, response: str) -> bool:
    """Whether the response settles on the right choice, or on one of the reference numbers or words."""
    if sample.choices:
        return choices.grade(sample, response)
    return any(_is_right(reference, readable(response)) for reference in (sample.answer, *sample.accepted))


def _is_right(reference: str, text: str) -> bool:
    if maths.read(reference):
        return maths.same(reference, settled(text))
    words = re.escape(_words(reference))
    return bool(words) and re.search(rf"(?<!\w)(?<!\bnot ){words}(?:s|es)?(?!\w)", _words(_said(text))) is not None


def _said(text: str) -> str:
    """What the response announces, else the whole of a short one, else its last sentence."""
    announced = statements(text)
    if announced:
        return (sentences(announced[0]) or [""])[0]
    parts = sentences(text)
    return text if len(parts) < 2 else parts[-1]


def _words(text: str) -> str:
    """A text without case, LaTeX and punctuation."""
    return re.sub(r"[^\w+%./-]+", " ", normalise(maths.plain(text))).strip()
