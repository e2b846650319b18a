"""How answers ended: which finish reasons are failures, and the message about incomplete answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

FAILED, CUT_OFF, FILTERED, TOOL_CALL, PLAIN = "failed", "cut_off", "filtered", "tool_call", ""

# Every server has its own words, so these look for the meaning. The first match decides.
_MEANINGS = {
    FAILED: "error|abort|cancel|fail|timed?_?out|interrupt|overload|rate_limit|insufficient|unavailable|exception",
    FILTERED: "filter|safety|recitation|sensitive|prohibit|block|refus|policy|moderat|guardrail|spii",
    TOOL_CALL: "tool|function",
    CUT_OFF: "length|max|limit|exceed|truncat|incomplete",
}
_PATTERNS = {kind: re.compile(words) for kind, words in _MEANINGS.items()}
_SAID = {
    CUT_OFF: "were cut off",
    FILTERED: "were stopped by the server's content filter",
    TOOL_CALL: "call a tool",
    PLAIN: "are empty",
}
_NO_ANSWER = {CUT_OFF, FILTERED}  # regardless of their text

Endings = Counter[tuple[str, bool]]  # (kind, empty) -> answers


def kind_of(finish_reason: str) -> str:
    """FAILED, CUT_OFF, FILTERED, TOOL_CALL, or PLAIN for a normal end and for unknown words."""
    word = re.sub("[^a-z]+", "_", finish_reason.lower())
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(word)), PLAIN)


def is_answer(finish_reason: str, text: str) -> bool:
    """Whether a response is an answer that can be graded: not cut off, not filtered and not empty."""
    return kind_of(finish_reason) not in _NO_ANSWER and bool(text.strip())


def count_endings(answers: Iterable[tuple[str, str]]) -> Endings:
    """The number of answers of each kind, from (finish_reason, response) pairs."""
    return Counter((kind_of(reason), not response.strip()) for reason, response in answers)


def ending_totals(endings: Endings) -> dict[str, int]:
    """The counts as written to a sidecar; "empty" counts over all kinds."""
    totals = {
        name: _total(endings, kind)
        for name, kind in (("cut_off", CUT_OFF), ("filtered", FILTERED), ("tool_calls", TOOL_CALL))
    }
    return totals | {"empty": sum(n for (_, empty), n in endings.items() if empty)}


def incomplete_line(endings: Endings, limit: str, advice: str) -> str:
    """One line that counts the answers that are cut off, filtered, tool calls or empty; "" when all are complete.

    Args:
      limit: the limit on tokens, such as "answers.max_tokens=512".
      advice: how to raise it.
    """
    parts, answers = [], endings.total()
    for kind, said in _SAID.items():
        empty = endings[kind, True]
        number = empty if kind == PLAIN else _total(endings, kind)
        if not number:
            continue
        part = f"{number} of {answers} answers {said}" + (f" at {limit}" if kind == CUT_OFF else "")
        part += " and count as no answer" if kind in _NO_ANSWER else ""
        part += f" ({empty} of them empty)" if empty and kind != PLAIN else ""
        parts.append(part + (f": {advice}" if kind == CUT_OFF and advice else ""))
    return "; ".join(parts)


def _total(endings: Endings, kind: str) -> int:
    return endings[kind, False] + endings[kind, True]
