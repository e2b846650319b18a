"""Finds an answer that comes first and is then explained: "18\\nThere are 20 circles.", "Yes. It is above the line."

The rules are narrow. If a first line is not clearly an answer, the last sentence decides.
"""

from __future__ import annotations

import re

from extract.grading.maths import maths
from extract.grading.maths.notation import bare
from extract.grading.reading.statements import sentences
from extract.grading.reading.words import in_digits

_NUMBER = r"\A(\W*\d[^\s,;()。]*(?:\s[^\W\d]+)?)"
# "18 (there are 20 in all)", "18, because 2 are red", "18 - 2 are red", "18; 2 are red", "7 triangles, 3 of them small"
_FIRST_NUMBER = re.compile(
    _NUMBER + r"(?:\s*(?=\([^)]*[A-Za-z,])|[,;]?\s+(?=(?:because|since|as|due to)\b)"
    r"|\s+[-:]\s+(?=[^\d\s])|(?<=:)\s+(?=(?:there|the|we|it|because|since)\b)|;\s*(?=[^\W\d])|[,;:]\s*(?=[\u2e80-\uffff])"
    r"|,\s+(?=\d+ of (?:them|which)\b|(?:of which|including|which|with)\b))"
)
_DIRECT = re.compile(r"[^=<>≈A-Za-z]{1,30}(?:\s*(?!and\b|or\b|plus\b|minus\b|times\b)[A-Za-z°%/^]{1,12}\d?){0,2}[.!]?")
_NUMBERED = re.compile(r"\A\W*1[.)]\s.*?(?:^|\s)\W{0,4}2[.)]\s", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"(?<=\n)[^\w\n]*\d{1,2}[.)][ \t]+(?=[^\W\d])")  # the number of "1. Count the circles"
# "3\nrows of 4" is one sentence
_CONTINUED = re.compile(
    r"\A[^\n]*[^\n.!?:]\n(?=[a-z])(?!(?:because|since|as|there|it|this|these|the|we|i|explanation|reason\w*)\b)"
)
_EXPLANATION = re.compile(
    r"\W*(?:(?:brief |short |detailed )?(?:explanation|reason(?:ing|s)?|rationale|justification)|because|since"
    r"|(?:this|it) is because|解释|解釋|说明|理由|原因)\b|\W*(?:解释|解釋|说明|理由|原因|설명|이유)",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}|[\u0400-\uffff]{3,}|[\u2e80-\uffff]{2,}")

_SO = re.compile(r"(?:so|thus|hence|therefore|finally|in total|altogether|this means|we (?:get|have))\b", re.IGNORECASE)
# "... gives 12 V", "... is then 12 square centimetres", "..., so 12", "= 12", each at the end of a sentence
_RESULT = re.compile(
    r"(?:\b(?:gives?|giving|makes?|making|leaves?|leaving|yields?|yielding|equals?|totals|becomes?|get|obtain"
    r"|results? in|(?:adds? up|sums?|comes?|amounts?) to|(?:is|are|was|were) (?:then|thus|therefore|hence|now|so)"
    r"|then (?:is|are)|so|thus|hence|therefore)\b|[=≈])[^.\n=≈\d]{0,40}?"
    r"(?P<number>[-+]?\d[\d.,/]*)%?(?:\s*(?!is\b|are\b|was\b|were\b|have\b|has\b)[^\W\d]+[²³]?){0,3}\W*$"
)

_AGREEMENT = re.compile(
    r"(?:yes|no)(?=[.!]|\s*\n|,(?!\s*(?:of course|sure|certainly|wait|i\b|let\b|we can\b|you\b)))", re.IGNORECASE
)
_AGREED_LAST = re.compile(r"\W*(?:(?:so|thus|hence|therefore|actually|but|wait)\b\W*)+(?:yes|no)\b", re.IGNORECASE)
_MARKS_OF_A_HEADING = re.compile(r"[:,;=!?]\W*$|\d\W*$")
_NO_ANSWER = re.compile(
    # greetings
    r"\A\W*(?:sure|ok|okay|alright|all right|right|great|good|nice|thanks?|thank you|certainly|absolutely|of course"
    r"|definitely|hello|hi|hey|well|hmm+|yes|no|let'?s?|here|first|now|indeed|understood|got it|interesting)\b"
    # sentences
    r"|\b(?:is|are|was|were|be|has|have|had|do|does|did|can|could|will|would|must|may|might|should|shows?|see|need|want"
    r"|look|looks|matters?|means?|depicts?|i|we|you|let)\b|'(?:s|re|m|ll|ve|d)\s"
    # participles with their objects
    r"|\A\W*[a-z]+ing\s+\S"
    # headings
    r"|\b(?:analysis|explanation|reason(?:ing)?|solution|steps?|overview|summary|descriptions?|answers?|observations?"
    r"|background|introduction|approach|questions?|details?|calculations?|interpretation|identification|comparison)\W*\Z",
    re.IGNORECASE,
)
# "It is Germany", "The light makes it Baroque", "The bar shows 12"; neither "It is above France" nor "It is higher"
_NAMES = re.compile(
    r"\b(?:(?:is|are|was|were|be|makes?(?: it)?|depicts|represents|called|named)\b|'s\b|(?:shows?|has|have)\b(?=.*\d))"
    r"(?!\s+(?:not|an?\s+\w+er|the\s+(?:\w+est|most|least|only|first|last)|\w+er|more|less|most|because|since|above|below"
    r"|over|under|in|on|at|between|behind|near|next|before|after|where|what|why|how|clearly|\w+ed|shown|seen|known)\b)",
    re.IGNORECASE,
)
_REFERS = re.compile(r"(?:it|its|they|their|this|that|he|she|his|her)\b", re.IGNORECASE)


def opening(text: str) -> str:
    """The number that a response begins with and then explains: "18", "18 cm", "18." before other sentences; else "".

    Numbers of lists ("1. Count the circles. 2. ...") and of a sentence that continues in the next line do not count.
    Neither does a number when a later sentence reaches another result ("... gives 12").
    """
    first, *others = sentences(_ITEM.sub("", _FIRST_NUMBER.sub(r"\1\n", text, count=1))) or [""]
    first = in_digits(bare(first).rstrip("!。:").lower())
    if not others or not _DIRECT.fullmatch(first) or not maths.read(first):
        return ""
    if _NUMBERED.search(text) or _CONTINUED.match(text) or _concludes_otherwise(others, first):
        return ""
    if others[0].startswith("(") or _EXPLANATION.match(others[0]):
        return first
    listed = any(re.match(r"\W*\d", other) and _DIRECT.fullmatch(other) and maths.read(other) for other in others)
    return first if not listed and any(map(_PROSE.search, others)) else ""


def _concludes_otherwise(others: list[str], first: str) -> bool:
    """Whether the last sentence with a number, or the last sentence, reaches another result than the first line."""
    last = in_digits(next((other for other in reversed(others) if re.search(r"\d", other)), others[-1]).lower())
    if result := _RESULT.search(last):
        return not maths.same(first, result["number"].rstrip(".,/"))
    return _SO.match(last) is not None or _SO.match(others[-1]) is not None


def first_words(text: str) -> str:
    """Yes, no, or a first line of a few words that the next lines explain: "Germany"; else "".

    A greeting, a heading or a sentence is not an answer. No first line counts when a later sentence names something.
    """
    first, _, rest = text.partition("\n")
    others = sentences(rest)
    if agreement := _AGREEMENT.match(text):
        longer = others or len(sentences(text)) > 1
        return agreement[0] if longer and not _AGREED_LAST.match(sentences(text)[-1]) else ""
    if not others or not 0 < len(first.split()) <= 4 or _MARKS_OF_A_HEADING.search(first) or _NO_ANSWER.search(first):
        return ""
    name = first.strip(" .\"'").casefold()
    if _SO.match(others[-1]) and name not in others[-1].casefold():
        return ""
    if _EXPLANATION.match(others[0]):
        return first
    related = name in rest.casefold() or _REFERS.match(others[0])
    return first if related and _PROSE.search(rest) and not _NAMES.search(others[-1]) else ""
