"""Datasets without choices or a benchmark's own rule: the response must be the answer, word for word.

The sentence "The answer is red." is not the answer "red"; what a model marks as its answer, in a box or a tag, is.
"""

from __future__ import annotations

from extract.grading.notation import bare
from extract.grading.reading import readable
from extract.grading.statements import marked
from extract.grading.text import exact_match, normalise
from extract.sample import Sample


def final_answer(sample: Sample, response: str) -> str:
    """The normalised words of the response, or of what it marks as its answer; "" when there are none."""
    del sample
    return normalise(said(response))


def grade(sample: Sample, response: str) -> bool:
    """Whether the response is one of the sample's answers, case, articles and sentence marks aside."""
    text = said(response)
    return any(exact_match(text, answer) for answer in (sample.answer, *sample.accepted))


def said(response: str) -> str:
    """A response as it is read: only what it marks as its answer when it does, else all of it."""
    text = readable(response)
    return bare(marked(text) or text)
