"""The prompts under which a question is asked, and where each one's answer ends up in the response."""

from __future__ import annotations

import re

DIRECT, STEPS, CONFIDENCE = "direct", "steps", "confidence"
STYLES = {
    DIRECT: "{prompt}",
    STEPS: "{prompt}\nThink step by step. Then write the final answer on a last line of its own: Answer: ...",
    CONFIDENCE: "{prompt}\nProposed answer: {answer}\nHow likely is it that the proposed answer is right? "
    "Reply with a number from 0 to 100 and nothing else.",
}
_FIELD = re.compile(r"\{(prompt|answer)\}")
_SCALE = re.compile(r"\b0\s*(?:%\s*)?(?:to|-)\s*100\b", re.IGNORECASE)  # the question's own words
_NUMBER = re.compile(
    r"(?<![\d.,-])(?P<number>\d+(?:\.\d+)?)(?![\d,]*\d)"
    r"(?:\s*(?:/|out\s+of)\s*(?P<whole>[1-9]\d*)|(?P<percent>\s*(?:%|percent)))?",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"answer\s*:[ \t*]*(?P<answer>[^\n]*)", re.IGNORECASE)


def styled(style: str, prompt: str, answer: str = "") -> str:
    """A dataset's prompt under a style; `answer` is what "confidence" asks about."""
    fields = {"prompt": prompt, "answer": answer}
    return _FIELD.sub(lambda field: fields[field[1]], STYLES[style])  # in one pass: a prompt may hold braces too


def answer_text(style: str, response: str) -> str:
    """The part of a response that is graded: under "steps" what follows the last `Answer:`, when there is one."""
    found = list(_ANSWER.finditer(response)) if style == STEPS else []
    answer = found[-1]["answer"].strip() if found else ""
    return answer or response.strip()


def stated_percent(response: str) -> str:
    """The first number of a reply to "confidence", in percent; "" when there is none or it is above 100.

    A fraction of 1 with a decimal point, such as 0.85, is taken for a probability; 8/10 and "8 out of 10" are 80.
    """
    found = _NUMBER.search(_SCALE.sub("", response))
    if not found:
        return ""
    value = float(found["number"])
    if found["whole"]:
        value *= 100 / int(found["whole"])
    elif "." in found["number"] and value <= 1 and not found["percent"]:
        value *= 100
    return f"{value:.10g}" if value <= 100 else ""
