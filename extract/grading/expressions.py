"""The number or expression that a response to an open question settles on."""

from __future__ import annotations

import re

from extract.grading import maths
from extract.grading.notation import bare, plain
from extract.grading.statements import boxes, sentences, statements
from extract.grading.words import in_digits

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
# "18 (there are 20 in all)", "18, because 2 are red", "18 - 2 are red", "7 triangles, 3 of them small"
_FIRST_NUMBER = re.compile(
    r"\A(\W*\d[^\s,;()]*(?:\s[^\W\d]+)?)(?:\s*(?=\([^)]*[A-Za-z,])|[,;]?\s+(?=(?:because|since|as|due to)\b)"
    r"|\s+[-:]\s+(?=[^\d\s])"
    r"|,\s+(?=\d+ of (?:them|which)\b|(?:of which|including|which|with)\b))"
)
_DIRECT = re.compile(r"[^=<>≈A-Za-z]{1,30}(?:\s*(?!and\b|or\b|plus\b|minus\b|times\b)[A-Za-z°%/^]{1,12}\d?){0,2}[.!]?")
_NUMBERED = re.compile(r"\A\W*1[.)]\s.*?(?:^|\s)\W{0,4}2[.)]\s", re.MULTILINE | re.DOTALL)
_CONCLUSION = re.compile(
    r"(?:so|thus|hence|therefore|finally|in total|altogether|this means|we (?:get|have))\b", re.IGNORECASE
)
_PROSE = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}|[\u0400-\uffff]{3,}")
_AGREEMENT = re.compile(r"(?:yes|no)(?=[.,!\n])", re.IGNORECASE)
_LINKED = re.compile(
    r"(?:\b(?:is|are|be|was|equals?|get|gives?|yields?|have|need)\b|[=≈])\s*(?:(?:to|about|approximately)\s+)?$"
)
_NEGATED = re.compile(r"(?:\bnot|n't)\s+(?:\w+\s+)?$")  # "is not 60"


def settled(text: str) -> str:
    """What a readable text settles on, as it is written there; "" when it settles on no number or expression."""
    for content in statements(text):
        if found := announced(content):
            return found
    if boxed := boxes(text):
        return boxed[-1][1]  # an expression that we cannot read, still the answer
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


def opening(text: str) -> str:
    """The number that a response begins with and then explains: "18", "18 cm", "18." before other sentences; else "".

    No number of a list ("1. Count the circles. 2. ..."), and none where the last sentence concludes something else.
    """
    first, *others = sentences(_FIRST_NUMBER.sub(r"\1\n", text, count=1)) or [""]
    first = in_digits(bare(first).rstrip("!").lower())
    if not others or not _DIRECT.fullmatch(first) or not maths.read(first):
        return ""
    explained = others[0].startswith("(") or any(map(_PROSE.search, others))
    listed = any(_DIRECT.fullmatch(other) and maths.read(other) for other in others if not other.startswith("("))
    return (
        first if explained and not listed and not _NUMBERED.search(text) and not _CONCLUSION.match(others[-1]) else ""
    )


def first_words(text: str) -> str:
    """The few words of a first line that other lines explain: "Germany", "Yes"; else "".

    A heading is no answer, and no line is where the last sentence concludes something else.
    """
    first, _, rest = text.partition("\n")
    others = sentences(rest)
    if agreement := _AGREEMENT.match(text):
        return agreement[0] if others or len(sentences(text)) > 1 else ""
    explained = others and _PROSE.search(rest) and not _CONCLUSION.match(others[-1])
    direct = 0 < len(first.split()) <= 4 and not re.search(r"[:,;=]\s*$|\d\W*$", first)
    return first if explained and direct else ""


def announced(content: str) -> str:
    """The expression at the beginning of what a response announces as its answer."""
    content = (sentences(_NOT_BUT.sub("", content)) or [""])[0]
    content = _REASONS.sub("", content)
    if maths.read(content):
        return content
    if (marked := _IN_MATHS.match(content)) and maths.read(marked[0]):
        return marked[0]
    return next(iter(maths.spans(content)), "")


def concluded(sentence: str) -> str:
    """The expression of a sentence that comes after a word such as "is", else its last one."""
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
