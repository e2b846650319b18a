"""The prompt styles for a question, and how each style's answer is found in the response."""

from __future__ import annotations

import re

from extract.grading.confidence import stated_percent
from extract.grading.steps import answer_of_steps

DIRECT, STEPS, CONFIDENCE = "direct", "steps", "confidence"
STYLES = {
    DIRECT: "{prompt}",
    STEPS: "{prompt}\nThink step by step. Then write the final answer on a last line of its own: Answer: ...",
    CONFIDENCE: "{prompt}\nProposed answer: {answer}\nHow likely is it that the proposed answer is right? "
    "Reply with a number from 0 to 100 and nothing else.",
}
_FIELD = re.compile(r"\{(prompt|answer)\}")

__all__ = ["CONFIDENCE", "DIRECT", "STEPS", "STYLES", "answer_text", "stated_percent", "styled"]


def styled(style: str, prompt: str, answer: str = "") -> str:
    """A dataset's prompt in a style; `answer` is the one that "confidence" asks about."""
    fields = {"prompt": prompt, "answer": answer}
    return _FIELD.sub(lambda field: fields[field[1]], STYLES[style])  # in one pass, because a prompt may contain braces


def answer_text(style: str, response: str) -> str:
    """The part of a response that is graded: under "steps" the answer it announces, else all of it."""
    return answer_of_steps(response) if style == STEPS else response.strip()
