"""Graders: is a response right, and which answer does it give? Each benchmark's file has `grade` and `final_answer`."""

from __future__ import annotations

from extract.grading import chartqa, choices, exact, mathvision, mmmu
from extract.grading.choices import choice_index, multiple_choice, reference_index
from extract.grading.reading.text import exact_match, normalise

# Recorded in every store. Raise it when a verdict or a final answer of any dataset's grader changes;
# tests/extract/test_versions.py fails then.
VERSION = 1

__all__ = [
    "VERSION",
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
