"""Removes a model's reasoning before its answer, whichever tags its family uses.

A tag is a bracket form whose name means reasoning: <think>, </seed:think>, [THINK], <|begin_of_thought|>,
<|START_THINKING|>, <|channel|>analysis<|message|>. Without a closing tag, everything up to the end is reasoning, except
after headings ("[REASONING]"), types ("List<Thought>") and mentions ("the tag <think>"). Sections such as <plan> and
<explanation>, which may hold the answer, are handled by sections.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Names of reasoning, as parts of a name such as "cot_budget_reflect".
_NAMES = re.compile(
    r"\w*(?P<think>think(?:s|ing)?|thoughts?)|reason(?:s|ing)?|rationales?|reflect(?:s|ion|ing)?|reflexion"
    r"|analy[sz](?:is|e|ing)|scratch(?:pad)?|cot|\w*monolog(?:ue)?|deliberat(?:e|ion)|ponder(?:ing)?|contemplat\w*|inner"
    r"|introspection|brainstorm(?:ing)?"
    r"|思考\w*|推理\w*|思维\w*|생각|추론|pensées?|raisonnement|razonamiento|pensamiento|raciocínio|рассуждени[ея]|мысли",
    re.IGNORECASE,
)
_CLOSING = {"end", "stop", "close", "suffix"}
_SIGN = re.compile(
    r"<\|?\s*(?P<slash>(?:\\?/)?)\s*(?P<name>[^\W\d][\w.:-]{1,80})(?:\s[^<>\n/]{0,80})?(?P<empty>/?)\s*\|?>"
    r"|\[(?P<slash2>(?:\\?/)?)(?P<square>[^\W\d][\w.:-]{1,80})\]"
    r"|◁\s*(?P<slash3>/?)\s*(?P<triangle>\w[\w.:-]{1,80})\s*▷"
)
# Messages of gpt-oss, Gemma and others: <|channel|>analysis<|message|>...<|end|>, <|channel>thought ...<channel|>
_MESSAGE = re.compile(
    r"<\|channel\|?>\s*(?P<name>[a-z]+)(?:[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,20})?<\|message\|>)?"
    r"|<\|im_start\|>(?P<role>think|answer)\b|<channel\|>|<\|(?:end|content)\|>"
)
_THOUGHT_MESSAGES = {"analysis", "thought", "thoughts", "think", "thinking", "reasoning", "commentary"}
_UNUSED = re.compile(r"(?P<opens><(?:unused|ctrl)94>)(?:\s*thought\b)?|<(?:unused|ctrl)95>")  # MedGemma, Gemini
# Words before a tag that is only mentioned: "the tag <think>", "It uses `<think>`"
_MENTIONS = re.compile(
    r"\b(?:the|an?|tags?|tokens?|elements?|keywords?|uses?|like|called|named)\s+[`\"'(]?\Z", re.IGNORECASE
)
_WHOLE = (  # reasoning that no pair of tags encloses
    # gpt-oss where special tokens were dropped: "analysisThe user asks ...assistantfinalB"
    re.compile(r"\A(?:.*assistantfinal|\s*analysis(?=[A-Z\"'(]).*)", re.DOTALL),
    # Granite
    re.compile(
        r"\A\s*here(?:'s| is) my thought process:.*?(?:\n\s*here(?:'s| is) my (?:response|answer):|\Z)",
        re.DOTALL | re.IGNORECASE,
    ),
    re.compile(
        r"^```\s*(?:think(?:ing)?|thoughts?|reasoning)\s*\n.*?(?:^```|\Z)", re.DOTALL | re.MULTILINE | re.IGNORECASE
    ),
    re.compile(r"<details(?=[^/]{0,120}(?:reasoning|thought|thinking)).*?(?:</details>|\Z)", re.DOTALL | re.IGNORECASE),
)
_ESCAPED = re.compile(r"&lt;(/?[\w:|]{2,40})&gt;")
_ANSWER_SECTION = re.compile(
    r"^[ \t]*(?:<\|?(?:begin_of_)?(?:final_?)?(?:answer|solution|conclusion|response)\|?>|\[(?:final )?answer\])"
    r"|<\|begin_of_box\|>|(?-i:\[(?:FINAL[ _])?(?:ANSWER|CONCLUSION)\])",
    re.IGNORECASE | re.MULTILINE,
)
_HINT = re.compile(r"[<\[◁&]|```|\A\s*(?:analysis|here)|assistantfinal", re.IGNORECASE)


class _Mark(NamedTuple):
    """A tag in the text.

    A `soft` closing tag ends reasoning if any is open and is otherwise ignored. A `doubtful` opening tag counts only
    when a closing tag with its stem exists.
    """

    start: int
    end: int
    stem: str
    opens: bool
    soft: bool = False
    doubtful: bool = False


def without_thoughts(text: str) -> str:
    """The text outside of reasoning; "" when all of it is reasoning.

    A closing tag without an opening one ends reasoning that began in the prompt: everything before it is removed.
    """
    if not _HINT.search(text):
        return text
    text = _ESCAPED.sub(lambda match: f"<{match[1]}>" if _stem(match[1].strip("/|")) else match[0], text)
    for whole in _WHOLE:
        text = whole.sub("", text)
    kept: list[str] = []
    stems: list[str] = []  # of the open tags
    place = 0
    for mark in _marks(text):
        if not stems:
            kept.append(text[place : mark.start])
        place = mark.end
        if mark.opens:
            stems += [mark.stem] * (mark.stem not in stems)
        elif stems:  # a closing tag of another kind closes all
            del stems[stems.index(mark.stem) if mark.stem in stems else 0 :]
        elif not mark.soft:
            kept = []
    rest = text[place:]
    if stems:  # a model that forgot the closing tag may have begun its answer
        sections = list(_ANSWER_SECTION.finditer(rest))
        rest = rest[sections[-1].start() :] if sections else ""
    return "\n".join([*kept, rest])


def _marks(text: str) -> list[_Mark]:
    """All reasoning tags, from left to right."""
    signs = [mark for match in _SIGN.finditer(text) for mark in _sign(match, text)]
    closed = {mark.stem for mark in signs if not mark.opens}
    signs = [mark for mark in signs if mark.stem in closed or not mark.doubtful]
    marks = [_message(match) for match in _MESSAGE.finditer(text)]
    marks += [_Mark(*match.span(), "unused", bool(match["opens"])) for match in _UNUSED.finditer(text)]
    return sorted(marks + _without_lost_slash(signs, text))


def _without_lost_slash(signs: list[_Mark], text: str) -> list[_Mark]:
    """The tags, where the second of "<think>...<think>B" closes the reasoning that the response begins with."""
    if len(signs) != 2 or not all(mark.opens for mark in signs) or signs[0].stem != signs[1].stem:
        return signs
    return signs if text[: signs[0].start].strip() else [signs[0], signs[1]._replace(opens=False)]


def _message(match: re.Match[str]) -> _Mark:
    opens = (match["name"] or match["role"]) in _THOUGHT_MESSAGES
    return _Mark(*match.span(), "message", opens, soft=True)


def _sign(match: re.Match[str], text: str) -> list[_Mark]:
    """The marks of a bracket form; none when its name does not mean reasoning."""
    name = match["name"] or match["square"] or match["triangle"]
    stem = _stem(name)
    if not stem:
        return []
    closes = bool(match["slash"] or match["slash2"] or match["slash3"] or _CLOSING.intersection(_parts(name)))
    if match["empty"]:
        return [_Mark(match.start(), match.start(), stem, True), _Mark(*match.span(), stem, False)]
    return [_Mark(*match.span(), stem, not closes, doubtful=not closes and _is_doubtful(match, name, text))]


def _parts(name: str) -> list[str]:
    return [part.lower() for part in re.split(r"[_.:-]+", name)]


def _stem(name: str) -> str:
    """What the tags of one kind of reasoning have in common, such as "think"; "" for any other name."""
    parts = _parts(name)
    named = [found for part in parts if (found := _NAMES.fullmatch(part))]
    return "" if "no" in parts else "-".join("think" if found["think"] else found[0] for found in named)


def _is_doubtful(match: re.Match[str], name: str, text: str) -> bool:
    """Whether an opening tag may be a heading, "[REASONING]", a type, "List<Thought>", or a mention, "`<think>`"."""
    if match["square"]:
        return name != "THINK"  # Mistral's token
    before = text[max(match.start() - 20, 0) : match.start()]
    if re.search(r"[`\"']\Z", before) and text[match.end() : match.end() + 1] == before[-1]:
        return True  # in quotation marks
    is_type = re.search(r"\w\Z", before) and name[0].isupper() and not name.isupper()
    return bool(is_type or _MENTIONS.search(before))
