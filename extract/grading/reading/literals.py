"""Protects tags, tokens and code marks that occur in choices and references while a response is cleaned.

Each of them is replaced by one rare letter, which no cleaning rule removes, and is put back afterwards.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from extract.grading.reading.characters import unified

_FIRST, _MOST = 0x30000, 4_900  # CJK extension G: letters that no response writes
# Marks inside a longer choice: "<b>", "[MASK]", "&lt;", "`code`", "__init__"
_MARKS = re.compile(
    r"</?[^\W\d][^<>\n]{0,100}>|<\|[^<>\n]{1,60}\|>|\[/?[^\W\d][\w.:-]{0,40}\]|&#?\w{1,10};|`[^`\n]{1,100}`|__\w{1,60}?__"
)
_OPENING_TAG = re.compile(r"<([^\W\d][\w:.-]*)[^<>\n]*(?<!/)>")


def read_with(clean: Callable[[str], str], text: str, keep: tuple[str, ...]) -> str:
    """`clean(text)`, except that whatever `clean` would change in the texts of `keep` is left where it occurs."""
    pattern = _literals(clean, keep)
    if pattern is None:
        return clean(text)
    start = _end_of_enclosed(text, pattern, keep)
    letters: dict[str, str] = {}

    def letter(match: re.Match[str]) -> str:
        if match[0] not in letters and len(letters) == _MOST:
            return match[0]
        return letters.setdefault(match[0], chr(_FIRST + len(letters)))

    cleaned = clean(text[:start] + pattern.sub(letter, text[start:]))
    return cleaned.translate({ord(stand_in): literal for literal, stand_in in letters.items()}).strip()


@functools.lru_cache(maxsize=10_000)
def _literals(clean: Callable[[str], str], keep: tuple[str, ...]) -> re.Pattern[str] | None:
    """A pattern for the literals of `keep` in a response, longest first; None when there are none."""
    texts = [unified(text).strip() for text in keep]
    found = {mark for text in texts for mark in _MARKS.findall(text)}
    found |= {text for text in texts if text and clean(text) != text}
    if not found:
        return None
    return re.compile(
        "|".join(_literal(text) for text in sorted(found, key=lambda text: (-len(text), text))), re.IGNORECASE
    )


def _literal(text: str) -> str:
    """The pattern of one literal: a whole word, or a tag that encloses no text ("<b>B</b>" is a bold B)."""
    if tag := _OPENING_TAG.fullmatch(text):
        return rf"{re.escape(text)}(?!\s*[^\s<][^<]*</{re.escape(tag[1])}\s*>)"
    before = r"(?<!\w)" if re.match(r"\w", text) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", text) else ""
    return before + re.escape(text) + after


def _end_of_enclosed(text: str, pattern: re.Pattern[str], keep: tuple[str, ...]) -> int:
    """Where a pair of tags ends that encloses the start of a response although its tag occurs in `keep`; else 0.

    With the choices "<think>" and "<b>", "<think>A?</think>B" still begins with reasoning.
    """
    tag = re.compile(rf"\s*{_OPENING_TAG.pattern}(?=\s*[^\s<])").match(text)
    if tag is None:
        return 0
    signs = (tag[0].strip().casefold(), f"</{tag[1]}>".casefold())
    if not any(sign in unified(literal).casefold() for literal in keep for sign in signs):
        return 0
    literal = pattern.match(text, text.index("<"))
    if literal and literal.end() > tag.end():  # the pair itself is a choice, as in "<h1>Title</h1>"
        return 0
    closing = re.compile(rf"</{re.escape(tag[1])}\s*>", re.IGNORECASE).search(text, tag.end())
    return closing.end() if closing else 0
