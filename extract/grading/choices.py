"""Multiple choice: which choice does a response name, by its letter or by its text?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from extract.grading import naming
from extract.grading.exact import said
from extract.grading.expressions import announced, concluded
from extract.grading.maths import maths
from extract.grading.reading.characters import unified
from extract.grading.reading.reading import readable
from extract.grading.reading.statements import sentences, statements
from extract.grading.reading.text import exact_match, same_text
from extract.sample import Sample

# What announces a letter, in addition to the announcements of any answer. The letter must follow.
_LETTER_AHEAD = r"(?=[\W_]{0,6}(?:\\text\W+)?[A-Z]\b)"
_ANNOUNCEMENTS = (
    # "I would choose D", "we select option (D)", "I'd go with D"
    rf"\b(?:choose|chose|pick|select|go(?:ing)? with|opt for|guess|settle on)\s+(?:{naming.NOUN}\s+)?{_LETTER_AHEAD}",
    # "which corresponds to option F", "this matches (F)", "so it is option F", "hence choice F"
    r"\b(?:correspond(?:s|ing)? to|match(?:es|ing)?|agrees with|leads? to|is|hence|therefore|thus|so)"
    rf"\s+(?:with\s+)?(?:the\s+)?(?:answer\s+)?(?:option|choice)s?\s+{_LETTER_AHEAD}",
    r"(?:故?选[择项]?|故答案)\s*[为是:]?\s*(?=\W{0,3}(?-i:[A-Z])(?![A-Za-z]))",  # "故选B"
    # "B is correct", "(B) a dog is therefore the best answer"; neither "B is not correct" nor "B is incorrect"
    r"(?<![\w'])(?=\(?(?-i:[A-Z])\b(?!')\)?[^.\n]{0,60}?\s"
    r"(?:is|seems|appears|would be|must be|should be)\s+(?:to be\s+)?"
    r"(?:(?:clearly|indeed|therefore|thus|most|the|likely|probably|only|closest)\s+)*"
    r"(?:correct|right|best|answer|appropriate|suitable)\b)",
    r"^\W*(?:so|thus|hence|therefore)\b(?=\W{1,4}(?-i:[A-Z])\W*$)",  # "So, C."
    r"\n(?=\W*[A-Z]\W*\Z)|\n\s*\n(?=\W*(?-i:[A-Z])[.):]\s[^\n]*\Z)",  # "C" as last line, or "C. dog" after a blank one
)
_BEFORE_BUT = re.compile(r"^(?!.*\bnot\b).*\b(?:but|however)\b", re.IGNORECASE)


def choice_index(text: str, choices: tuple[str, ...]) -> int | None:
    """Which choice a response names, or None. The exact text of a choice, case included, goes before a letter."""
    if (index := _verbatim(text, choices)) is not None:
        return index
    whole = said(text, choices)
    if (index := _letter_index(whole, choices)) is not None:
        return index
    for index, choice in enumerate(choices):
        if exact_match(whole, choice):
            return index
    return pick(text, choices)


def reference_index(answer: str, choices: tuple[str, ...]) -> int | None:
    """Which choice a reference means: the one with exactly this text, else this letter, else this text or value.

    A reference is data, not a response: it has no markup, and only its characters are unified.
    """
    if (index := _verbatim(answer, choices)) is not None:
        return index
    if (index := _letter_index(answer, choices)) is not None:
        return index
    found = {index for index, choice in enumerate(choices) if exact_match(answer, choice)}
    found = found or naming.by_whole_text(unified(answer), choices) or naming.by_value(unified(answer), choices)
    if not found and re.match(r"\W*[A-Z]\s*[.):]", answer):  # "B. dog"
        found = naming.by_first_letter(unified(answer), choices)
    return found.pop() if len(found) == 1 else None


def multiple_choice(response: str, answer: str, choices: tuple[str, ...]) -> bool:
    """Right when the response names the right choice, by letter (A, B, ...) or by text.

    `answer` is a letter or the text of a choice.
    """
    return choice_index(response, choices) == reference_index(answer, choices) is not None


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the choice that the response gives as its answer, or ""."""
    index = pick(response, sample.choices)
    return "" if index is None else chr(ord("A") + index)


def grade(sample: Sample, response: str) -> bool:
    """Whether the response names a right choice. Naming none or several is wrong."""
    index = pick(response, sample.choices)
    return index is not None and index in {_reference(answer, sample) for answer in (sample.answer, *sample.accepted)}


def _reference(answer: str, sample: Sample) -> int | None:
    """The choice that a benchmark's reference means; a reference is a letter rather than a text."""
    index = _letter_index(answer, sample.choices)
    return reference_index(answer, sample.choices) if index is None else index


def _letter_index(answer: str, choices: tuple[str, ...]) -> int | None:
    """The index of the choice with a capital letter, or None."""
    is_letter = re.fullmatch(r"[A-Z]", answer) and naming.index_of(answer) < len(choices)
    return naming.index_of(answer) if is_letter else None


def _verbatim(text: str, choices: tuple[str, ...]) -> int | None:
    """The only choice with exactly this text, or with this text after its characters are unified."""
    found = [index for index, choice in enumerate(choices) if choice.strip() == text.strip()]
    found = found or [index for index, choice in enumerate(choices) if same_text(text, choice)]
    return found[0] if len(found) == 1 else None


def pick(response: str, choices: tuple[str, ...]) -> int | None:
    """The one choice that a response names, or None when it names none or several."""
    is_letter = re.fullmatch(r"[\s()\[\].:]*[A-Za-z][\s()\[\].:]*", response)
    if not is_letter and (index := _verbatim(response, choices)) is not None:
        return index
    for found in _readings(readable(response, choices), choices):
        if found:
            return found.pop() if len(found) == 1 else None
    return _last_sign(response, choices)


def _last_sign(response: str, choices: tuple[str, ...]) -> int | None:
    """The choice without words, such as "«", at the end of a response: "The answer is `«`."."""
    last = (response.split() or [""])[-1]
    signs = {last, last.rstrip("."), last.rstrip(".").strip("`*")}
    found = [index for index, choice in enumerate(choices) if choice.strip() in signs and not re.search(r"\w", choice)]
    return found[0] if len(found) == 1 else None


def _readings(text: str, choices: tuple[str, ...]) -> Iterator[set[int]]:
    """The choices that each way of reading a response finds, most trusted first."""
    yield naming.by_whole_text(text, choices)
    said = statements(text, _ANNOUNCEMENTS)
    for statement in said:
        yield naming.held(statement, choices, announced)
    if said and maths.read(said[0]):  # a number that matches no choice
        return
    if naming.lists_choices(text):  # "A. 12 B. 13" repeats the question; the text after the list may still conclude
        last = re.split(r"\n\s*\n", text)[-1]
        yield set() if naming.lists_choices(last) else _conclusion(last, choices)
        return
    if len(sentences(text)) == 1:
        yield _conclusion(text, choices)
    yield naming.at_start(text.split("\n")[0], choices)
    yield _conclusion(text, choices)
    yield naming.by_lone_letter((sentences(text) or [""])[0], choices)
    yield naming.by_marked_letter(text, choices)
    yield naming.by_text(text, choices, shortest=4)


def _conclusion(text: str, choices: tuple[str, ...]) -> set[int]:
    """What the last sentence gives as the answer, especially after a "but"."""
    last = (sentences(text) or [""])[-1]
    if len(last) > naming.MAX_LENGTH:  # not a sentence: code or a loop
        return set()
    return naming.held(_BEFORE_BUT.sub("", last), choices, concluded) or naming.held(last, choices, concluded)
