"""The number or expression that a response to an open question gives as its answer."""

from __future__ import annotations

import re

from extract.grading.maths import maths
from extract.grading.maths.notation import plain
from extract.grading.opening import opening
from extract.grading.reading.statements import boxes, sentences, statements
from extract.grading.reading.words import in_digits

# What only explains an answer: "60 because ...", "12, where r = 3"
_REASONS = re.compile(
    r"[\s,;(]*\b(?:where|because|since|when|with|as|for|which|if|but|not)\b.*", re.IGNORECASE | re.DOTALL
)
_CAUSE = re.compile(r"(?<=\w)[\s,;(]+\b(?:because|since)\b.*", re.IGNORECASE | re.DOTALL)
_REFUSAL = re.compile(
    r"\b(?:cannot|can't|can not|unable|sorry|insufficient|not enough|unclear|not possible)\b", re.IGNORECASE
)
_NOT_BUT = re.compile(r"^\W*not\b.*?\bbut\s+(?:rather\s+)?", re.IGNORECASE)  # "not 5 but 6"
_IN_MATHS = re.compile(r"\$\$?.+?\$\$?|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
# "... is 12", "we get 12", "= 12"
_LINKED = re.compile(
    r"(?:\b(?:is|are|be|was|equals?|get|gives?|yields?|makes?|leaves?|totals|have|need)\b|[=≈])\s*(?:(?:to|about|approximately)\s+)?$"
)
_BRACKETED = re.compile(r"(?<![\w.])(\d[\d.,]*)((?:\s+[^\W\d]+)?)\s+(\([^()]*\d[^()]*\))")  # "18 (20 minus 2)"
_NEGATED = re.compile(r"(?:\bnot|n't)\s+(?:\w+\s+)?$")  # "is not 60"


def settled(text: str) -> str:
    """The answer in a readable text, as written there; "" when it gives no number or expression."""
    text = _BRACKETED.sub(_unexplained, text)
    for content in statements(text):
        if found := announced(content):
            return found
    if boxed := boxes(text):
        return boxed[-1][1]  # an expression that we cannot parse is still the answer
    if "\n" not in text and maths.read(text):
        return text
    if first := opening(text):
        return first
    for sentence in reversed(sentences(text)[-2:]):
        sentence = _CAUSE.sub("", sentence)
        if _REFUSAL.search(sentence):
            return ""
        if found := concluded(sentence):
            return found
    return ""


def _unexplained(match: re.Match[str]) -> str:
    """The number in "18 (20 minus 2)" and "18 (20 - 2)", which is not a product: the brackets have the same value."""
    return match[1] + match[2] if maths.same(match[1], match[3]) else match[0]


def announced(content: str) -> str:
    """The expression at the start of an announced answer."""
    content = (sentences(_NOT_BUT.sub("", content)) or [""])[0]
    content = _REASONS.sub("", content)
    if maths.read(content):
        return content
    if (marked := _IN_MATHS.match(content)) and maths.read(marked[0]):
        return marked[0]
    return next(iter(maths.spans(content)), "")


def concluded(sentence: str) -> str:
    """The expression in a sentence after a word such as "is", else the last one."""
    if maths.read(sentence):
        return sentence
    marked = [match for match in _IN_MATHS.finditer(sentence) if maths.read(match[0])]
    if marked and not re.search(r"\d", sentence[marked[-1].end() :]):
        return marked[-1][0]
    whole = in_digits(plain(sentence))
    linked, last, place = "", "", 0
    for span in maths.spans(sentence):
        start = max(whole.find(span, place), place)
        before, place = whole[:start], start + len(span)
        if not _NEGATED.search(before):
            last = span
            linked = span if _LINKED.search(before) else linked
    return linked or last
