"""Graders: is a response right, and what does it settle on? Each benchmark's file has `grade` and `final_answer`."""

from __future__ import annotations

from extract.grading import chartqa, choices, exact, mathvision, mmmu
from extract.grading.choices import choice_index, multiple_choice, reference_index
from extract.grading.reading.text import exact_match, normalise

__all__ = [
    "chartqa",
    "choice_index",
    "choices",
    "exact",
    "exact_match",
    "mathvision",
    "mmmu",
    "multiple_choice",
    "normalise",
    "reference_index",
]
