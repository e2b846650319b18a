"""The answer at the end of a requested chain of thought, as in "Answer: red"."""

from __future__ import annotations

import re

from extract.grading.maths.notation import bare
from extract.grading.reading.reading import readable
from extract.grading.reading.statements import answer_line, marked, sentences, statements

# "[red]", "{red}", "<red>", "(red)"; "[1, 2]" is a list and stays as it is
_IN_BRACKETS = re.compile(r"\[([^\[\],]+)\]|\{([^{},]+)\}|<([^<>,/]+)>|\(([^(),]{2,})\)")


def answer_of_steps(response: str) -> str:
    """The content of the last line "Answer: ...", else what the last sentence announces, else the whole response.

    Reasoning, special tokens and markup are removed, and so are brackets around the whole answer.
    """
    text = readable(response, keep_images=True)
    if (found := answer_line(text)) is None:
        last = (sentences(text) or [""])[-1]
        found = marked(text) or next(iter(statements(last)), "")
    if not found:
        return text
    inner = marked(found) or next(iter(statements(found)), found)
    return _bare(inner) or text


def _bare(answer: str) -> str:
    """An answer without enclosing brackets and LaTeX."""
    answer = answer.strip().strip("`").strip()
    if in_brackets := _IN_BRACKETS.fullmatch(answer.rstrip(".")):
        answer = next(filter(None, in_brackets.groups())).strip()
    return bare(answer)
