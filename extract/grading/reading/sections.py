"""Removes sections that come before an answer: "<caption>A dog on a beach.</caption> B".

A section is any pair of tags, except HTML and tags that enclose an answer. A section with no text after it is kept: it
holds the answer. Reasoning sections are removed by thoughts.py and need no text after them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TAG = re.compile(
    r"<\|?\s*(?P<slash>(?:\\?/)?)\s*(?P<name>[^\W\d][\w:.-]{1,60})(?:\s[^<>\n]{0,80})?\|?>"
    r"|\[(?P<slash2>/?)(?P<square>[^\W\d]\w{1,40})\]"
)
_HTML = (  # with MathML and BBCode
    "abbr acronym address article aside audio bdi bdo big blockquote body br button canvas center cite code col"
    " colgroup data dd del details dfn dialog div dl dt em embed fieldset figcaption figure font footer form h1 h2"
    " h3 h4 h5 h6 head header hr html iframe img input ins kbd label legend li link main map mark math menu meta"
    " nav noscript ol optgroup option param picture pre progress rp rt ruby samp script section select small"
    " source span strike strong style sub sup svg table tbody td template textarea tfoot th thead time title tr"
    " track tt ul var video wbr mi mo mn mrow mfrac msup msub msqrt mtext semantics annotation path rect circle"
    " polygon url quote color size"
)
_ENCLOSES_ANSWERS = (
    "answer ans final result response output solution choice letter prediction pred conclusion reply completion"
    " message text md markdown content value selected"
)
_PLACES = "box bbox ref quad point points phrase object obj grounding"  # words with their place in an image
_NO_SECTIONS = frozenset(f"{_HTML} {_ENCLOSES_ANSWERS} {_PLACES}".split())
_PART = re.compile(r"(?:begin|start|(end))_(?:of_)?")  # "<|begin_of_plan|>", "<|end_of_plan|>"
_ANSWERS = ("<answer>", "\\boxed")  # a section with the last of these holds the answer


class _Section(NamedTuple):
    start: int
    inside: int
    inside_end: int
    end: int


def without_sections(text: str, tokens: re.Pattern[str]) -> str:
    """The text without sections that are followed by other text, and without the tags of the other sections.

    `tokens` matches special tokens, which do not count as text.
    """
    last_word = _last_word(text, tokens)
    answers = [text.rfind(sign) for sign in _ANSWERS]
    cuts, place = [], 0
    for section in _sections(text):
        says_answer = any(section.start <= answer < section.end for answer in answers)
        if section.start < place or not _begins_a_part(text, section.start):
            continue
        if section.end <= last_word and not says_answer:
            cuts.append((section.start, section.end))
            place = section.end
        else:
            cuts += [(section.start, section.inside), (section.inside_end, section.end)]
    return _cut(text, sorted(cuts))


def _cut(text: str, cuts: list[tuple[int, int]]) -> str:
    """The text with each cut replaced by a line break."""
    kept, place = [], 0
    for start, end in cuts:
        if start >= place:  # tags may cross: "<a_b>...<c_d>...</a_b>...</c_d>"
            kept.append(text[place:start])
            place = end
    return "\n".join([*kept, text[place:]])


def _last_word(text: str, tokens: re.Pattern[str]) -> int:
    """The position of the last letter or digit outside tags and tokens; -1 when there is none."""
    for pattern in (_TAG, tokens):
        text = pattern.sub(lambda match: " " * len(match[0]), text)
    word = re.search(r"\w\W*\Z", text)
    return word.start() if word else -1


def _sections(text: str) -> list[_Section]:
    """All sections, sorted by start."""
    opened: dict[str, list[re.Match[str]]] = {}
    found = []
    for match in _TAG.finditer(text):
        name = (match["name"] or match["square"]).lower()
        part = _PART.match(name)
        name = name[part.end() :] if part else name
        if re.split(r"[_:.-]", name)[-1] in _NO_SECTIONS:
            continue
        if not (match["slash"] or match["slash2"] or (part and part[1])):
            opened.setdefault(name, []).append(match)
        elif opened.get(name):
            found.append(_Section(*opened[name].pop().span(), *match.span()))
    return sorted(found)


def _begins_a_part(text: str, start: int) -> bool:
    """Whether a line, a sentence or text after a tag begins here. Not so in "It is a <ref>cat</ref> here"."""
    before = start - 1
    while before >= 0 and text[before] in " \t":
        before -= 1
    return before < 0 or text[before] in "\n>].!?"
