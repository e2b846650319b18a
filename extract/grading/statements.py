"""Where a response says what its answer is: boxes, tags, JSON fields and phrases such as "the answer is"."""

from __future__ import annotations

import json
import re
import unicodedata

_MAX_LENGTH, _START, _END = 200_000, 1_000, 4_000  # characters: of all, and kept from both ends
_MAX_STATEMENTS = 20
_LOOP = re.compile(r"(.)\1{30,}", re.DOTALL)  # thousands of blanks
_KINDS = r"(?:correct|right|best|closest|final|matching|appropriate|suitable|likely|accurate|true|valid)"
_THINGS = r"(?:options?|choices?|answers?|match|letter|value|result|solution)"
# What announces an answer; the answer is the text after it, up to the end of the line.
ANNOUNCEMENTS = (
    # "The answer is 5", "Final answer: 5", "the correct option for k would be 5", '"answer": "5"', "the answer = 5"
    rf"\b(?:(?:final_|correct_)?answer|{_KINDS}\s+(?:\w+\s+)?{_THINGS})\b(?P<gap>[^.:=\n]{{0,80}}?)(?:\b(?:is|are|be)\b|[:=])",
    # "Answer C", "### Answer" above the answer
    r"^\W*(?:(?:the|final|correct)\s+)*answer(?:[\s:*#=>→]|[-\u2013\u2014]\s)+",
    r"(?:答案|正确选项|正确答案)\s*(?:应该)?(?:是|为|选)?\s*:?",  # "答案: B", "正确答案是B"
    r"####",  # "#### 5"
)
# What encloses an answer completely.
_ENCLOSURES = re.compile(
    r"<answer>(.*?)(?:</answer>|$)|<\|begin_of_box\|>(.*?)<\|end_of_box\|>",  # "<answer>5</answer>"
    re.DOTALL | re.IGNORECASE,
)
_BOX = re.compile(r"\\f?boxed\s*\{|\\fbox\s*\{")
_THOUGHT = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
IMAGE = re.compile(r"<\s*image[\s_]*\d*\s*>|\bimage\d+\b", re.IGNORECASE)
_SPECIAL = re.compile(r"</s>|<\|(?:im_end|end|eot_id|endoftext)\|>|<(?:end_of_turn|eos)>")
_LIST_OF_CHOICES = re.compile(r"\W*A[.):][^\n]*\n\W*B[.):]")  # "The answer is one of these:\nA. 12\nB. 13"
_JSON_KEYS = ("final_answer", "final answer", "finalanswer", "answer", "correct_answer", "choice", "option", "result")
# A sentence ends at a line break or at a stop before a space: "is 3.5. So" ends after 3.5.
_SENTENCE_END = re.compile(r"\n+|(?<=[.!?。])(?<!\bvs\.)(?<!approx\.)\s+(?=[^a-z])|(?<=。)")
_MARKUP = re.compile(r"\*\*|__(?!_)|`+|^\s*(?:#+|>)\s", re.MULTILINE)
_ASCII = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFF5F)}  # full-width forms
_ASCII |= {0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2212: "-"}  # typographic quotation marks, minus sign


def readable(response: str, keep_images: bool = False) -> str:
    """The response without its thoughts, image placeholders, special tokens and bold or code marks.

    Loops of one character are cut short, and of a very long response only both ends are kept: patterns stay fast.
    """
    text = _LOOP.sub(r"\1", response)
    text = _SPECIAL.sub("", _THOUGHT.sub("", text[-_MAX_LENGTH:]))
    if len(text) > _START + _END:
        text = text[:_START] + "\n" + text[-_END:]
    text = text if keep_images else IMAGE.sub("", text)
    return _MARKUP.sub("", text.translate(_ASCII)).strip()


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without empty ones."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip(" \t.*-")]


def statements(text: str, more: tuple[str, ...] = ()) -> list[str]:
    """What a readable text announces as its answer, the latest first; `more` are further announcements."""
    if (answer := _json_answer(text)) is not None:
        return [answer]
    found = [(start, content) for start, content in boxes(text)]
    found += [(match.start(), next(filter(None, match.groups()), "")) for match in _ENCLOSURES.finditer(text)]
    for pattern in (*ANNOUNCEMENTS, *more):
        for match in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
            if not re.search(r"\bnot\b|n't\b|cannot", match.groupdict().get("gap") or ""):
                found.append((match.end(), _announced(text[match.end() :])))
    latest_first = sorted(found, key=lambda item: item[0], reverse=True)[:_MAX_STATEMENTS]
    return [content[:_START] for _, content in latest_first if re.search(r"\w", content)]


def boxes(text: str) -> list[tuple[int, str]]:
    r"""Place and content of every \boxed{...}, braces balanced; a box that never closes ends with the text."""
    found = []
    for match in _BOX.finditer(text):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        found.append((match.end(), text[match.end() : end - (depth == 0)]))
    return found


def _announced(rest: str) -> str:
    """The first line with content after an announcement; only the quotation when it is one."""
    if _LIST_OF_CHOICES.match(rest):
        return ""
    line = re.match(r"[\s:=\"'*$\\\[({]*[^\n]*", rest)[0].lstrip(" \t\n:=*")
    if quotation := re.match(r"[\"']([^\"'\n]+)[\"']", line):
        return quotation[1]
    return line.strip().rstrip("!")


def _json_answer(text: str) -> str | None:
    """The answer field of a response that is a JSON object, fenced or not."""
    match = re.search(r"\{.*\}", text, re.DOTALL)
    if match is None or not re.fullmatch(r"\W*(?:json)?\s*", text[: match.start()], re.IGNORECASE):
        return None
    try:
        fields = {str(key).lower(): value for key, value in json.loads(match[0]).items()}
    except (ValueError, RecursionError):
        return None
    return next((str(fields[key]) for key in _JSON_KEYS if key in fields), None)
