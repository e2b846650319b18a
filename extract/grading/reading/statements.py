"""Finds where a response states its answer: boxes, tags, JSON fields and phrases such as "the answer is"."""

# ruff: noqa: RUF001 - words of many languages

from __future__ import annotations

import json
import re

_MAX_STATEMENTS, _LONGEST = 20, 1_000  # how many are examined, and characters of each
_KINDS = r"(?:correct|right|best|closest|final|matching|appropriate|suitable|likely|accurate|true|valid)"
_THINGS = r"(?:options?|choices?|answers?|match|letter|value|result|solution)"
# What announces an answer. The answer is the text after it, up to the end of the line.
ANNOUNCEMENTS = (
    # "The answer is 5", "Final answer: 5", "the correct option for k would be 5", '"answer": "5"', "the answer = 5"
    rf"\b(?:(?:final_|correct_)?answer|{_KINDS}\s+(?:\w+\s+)?{_THINGS})\b(?P<gap>[^.:=\n]{{0,80}}?)(?:\b(?:is|are|be)\b|[:=])",
    # "Answer C", "### Answer" above the answer
    r"^\W*(?:(?:the|final|correct)\s+)*answer(?:[\s:*#=>→\]]|[-\u2013\u2014]\s)+",
    r"(?:答案|正确选项|正确答案)\s*(?:应该)?(?:是|为|选)?\s*:?",  # "答案: B", "正确答案是B"
    r"####",  # "#### 5"
)
# "Answer: red", "Final answer = red", "### Answer", "The answer: red" on a line of its own, or after a sentence
_ANSWER_LINE = re.compile(
    r"(?:^\W*(?:(?:so|thus|hence|therefore|and|the|my|final|correct|short|direct)\W+)*|(?<=[.!?]\s)(?:final\s+)?)"
    r"answer\b\s*(?:\([^()\n]*\)\s*)?(?:[:=\]]|->|=>|→|-\s|$)+"
    # With a colon, on a line of its own: "Ans: red", and "answer" in other languages
    r"|^\W*(?:(?:la|el|il|a|die|het|final)\s+)?(?:ans|final|réponse|respuesta|resposta|antwort|antwoord|risposta|svar|vastaus"
    r"|odpowiedź|odpověď|válasz|răspuns|cevap|yanıt|jawaban|đáp án|ответ|відповідь|απάντηση|回答|答案|答え|答|解答"
    r"|정답|답|उत्तर|जवाब|الجواب|الإجابة|คำตอบ|תשובה)(?:\s+(?:finale?|definitiva|final))?\s*:",
    re.IGNORECASE | re.MULTILINE,
)
# What encloses a complete answer.
_ENCLOSURES = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)  # as `readable` writes them
_BOX = re.compile(r"\\f?boxed\s*\{|\\fbox\s*\{")
_LIST_OF_CHOICES = re.compile(r"\W*A[.):][^\n]*\n\W*B[.):]")  # "The answer is one of these:\nA. 12\nB. 13"
_JSON_KEYS = ("final_answer", "final answer", "finalanswer", "answer", "correct_answer", "choice", "option", "result")
# A sentence ends at a line break or at a stop before a space: "is 3.5. So" ends after 3.5.
_SENTENCE_END = re.compile(r"\n+|(?<=[.!?。])(?<!\bvs\.)(?<!approx\.)\s+(?=[^a-z])|(?<=。)")


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without empty ones."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip(" \t.*-")]


def statements(text: str, more: tuple[str, ...] = ()) -> list[str]:
    """The answers that a readable text announces, latest first; `more` are further announcement patterns."""
    if (answer := _json_answer(text)) is not None:
        return [answer]
    found = [(start, content) for start, content in boxes(text)]
    found += [(match.start(), match[1]) for match in _ENCLOSURES.finditer(text)]
    for pattern in (*ANNOUNCEMENTS, *more):
        for match in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
            if not re.search(r"\bnot\b|n't\b|cannot", match.groupdict().get("gap") or ""):
                found.append((match.end(), _announced(text[match.end() :])))
    latest_first = sorted(found, key=lambda item: item[0], reverse=True)[:_MAX_STATEMENTS]
    return [content[:_LONGEST] for _, content in latest_first if re.search(r"\w", content)]


def answer_line(text: str) -> str | None:
    """The content of the last line of the form "Answer: ..." or "### Answer"; None without such a line."""
    found = (_announced(text[match.end() :]) for match in _ANSWER_LINE.finditer(text))
    return next((content for content in reversed(list(found)) if re.search(r"\w", content)), None)


def marked(text: str) -> str:
    """The last answer that the text marks with a tag, a box or a JSON field; "" when there is none."""
    found = [(match.start(), match[1]) for match in _ENCLOSURES.finditer(text)] + boxes(text)
    contents = [content for _, content in sorted(found) if re.search(r"\w", content)]
    inner = contents[-1].strip() if contents else _json_answer(text) or ""
    return marked(inner) or inner if contents else inner


def boxes(text: str) -> list[tuple[int, str]]:
    r"""Position and content of every \boxed{...}, with balanced braces. An unclosed box ends with the text."""
    ends = _closing_braces(text)
    return [(m.end(), text[m.end() : ends.get(m.end(), len(text))]) for m in _BOX.finditer(text)]


def _closing_braces(text: str) -> dict[int, int]:
    """The position where each brace closes, keyed by the position after its opening. One pass: responses may loop."""
    opened, ends = [], {}
    for brace in re.finditer(r"[{}]", text):
        if brace[0] == "{":
            opened.append(brace.end())
        elif opened:
            ends[opened.pop()] = brace.start()
    return ends


def _announced(rest: str) -> str:
    """The first line with content after an announcement; only the quoted part if it is quoted."""
    if _LIST_OF_CHOICES.match(rest):
        return ""
    first = re.match(r"[\s:=\"'*$\\\[({]*[^\n]*", rest)
    line = first[0].lstrip(" \t\n:=*") if first else ""
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
