"""MathVision: the letter or text of an option, or mathematical equality, as in the benchmark's own evaluation."""

from __future__ import annotations

from extract.grading import choices
from extract.grading.expressions import settled
from extract.grading.maths import maths
from extract.grading.reading.reading import readable
from extract.sample import Sample


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the option, the value ("0.33", "3, -4") or the expression that the response gives, or ""."""
    if sample.choices:
        return choices.final_answer(sample, response)
    return maths.key(settled(readable(response)))


def grade(sample: Sample, response: str) -> bool:
    """Whether the response gives the right option or a value equal to a reference."""
    if sample.choices:
        return choices.grade(sample, response)
    text = settled(readable(response))
    return any(maths.same(reference, text) for reference in (sample.answer, *sample.accepted))
