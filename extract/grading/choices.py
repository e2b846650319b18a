"""Multiple choice: which choice does a response settle on, by its letter or by its text?"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator

from extract.grading import maths
from extract.grading.expressions import announced, concluded
from extract.grading.statements import readable, sentences, statements
from extract.grading.text import exact_match, normalise
from extract.sample import Sample

# What announces a letter, besides the announcements of any answer; the letter must follow.
_NOUN = r"(?:options?|choices?|answers?|letter|statement|figure|picture|image|diagram)"
_LETTER_AHEAD = r"(?=[\W_]{0,6}(?:\\text\W+)?[A-Z]\b)"
_ANNOUNCEMENTS = (
    # "I would choose D", "we select option (D)", "I'd go with D"
    rf"\b(?:choose|chose|pick|select|go(?:ing)? with|opt for|guess|settle on)\s+(?:{_NOUN}\s+)?{_LETTER_AHEAD}",
    # "which corresponds to option F", "this matches (F)", "so it is option F", "hence choice F"
    r"\b(?:correspond(?:s|ing)? to|match(?:es|ing)?|agrees with|leads? to|is|hence|therefore|thus|so)"
    rf"\s+(?:with\s+)?(?:the\s+)?(?:answer\s+)?(?:option|choice)s?\s+{_LETTER_AHEAD}",
    r"(?:故?选择?|故答案)\s*[为是:]?\s*(?=\W{0,3}[A-Z]\b)",  # "故选B"
)
# What follows the name of a choice that is declared right: "B (a dog) is therefore the best answer".
_IS_RIGHT = (
    r"[^.\n]{0,60}?\s(?:is|seems|appears|would be|must be|should be)\s+(?:to be\s+)?"
    r"(?:(?:clearly|indeed|therefore|thus|most|the|likely|probably|only|closest)\s+)*"
    r"(?:correct|right|best|answer|appropriate|suitable)\b"
)
# A response turns from what it holds to what it rejects or to its reasons: "dog, not cat", "dog because ...".
_TURN = re.compile(
    r"\b(?:not|cannot|rather than|instead of|as opposed to|neither|because|since|whereas|while|but)\b|n't\b", re.IGNORECASE
)
_NOT_BUT = re.compile(r"\b(?:not|neither)\b[^.\n]{0,60}?\bbut\b(?:\s+rather)?\s*(?:is\s+)?", re.IGNORECASE)  # "not B but C"
_BUT = re.compile(r"^(?!.*\bnot\b).*\b(?:but|however)\b", re.IGNORECASE)
# After these words A is no article and I no pronoun: "A because ...", "I is ...".
_AFTER_LETTER = {"A": "because|since|as|is|and|or|with|which|for|due|based|given|would|seems|was", "I": "because|since|is|and|or"}


def choice_index(text: str, choices: tuple[str, ...]) -> int | None:
    """Which choice `text` names, or None. The very text of a choice goes before a letter."""
    for index, choice in enumerate(choices):
        if exact_match(text, choice):
            return index
    return pick(text, choices)


def multiple_choice(response: str, answer: str, choices: tuple[str, ...]) -> bool:
    """Right when the response names the right choice, by its letter (A, B, ...) or by its text.

    `answer` is a letter or the text of a choice.
    """
    return choice_index(response, choices) == choice_index(answer, choices) is not None


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the choice that the response settles on, or ""."""
    return letter(pick(response, sample.choices))


def grade(sample: Sample, response: str) -> bool:
    """Whether the response settles on a right choice; none or several at once are wrong."""
    index = pick(response, sample.choices)
    return index is not None and index in {_reference(answer, sample) for answer in (sample.answer, *sample.accepted)}


def _reference(answer: str, sample: Sample) -> int | None:
    """The choice that a reference means, which is a letter or a text."""
    label = re.fullmatch(r"[A-Z]", answer.strip())
    if label and _index(label[0]) < len(sample.choices):
        return _index(label[0])
    return choice_index(answer, sample.choices)


def letter(index: int | None) -> str:
    """A for 0, B for 1, and "" for None."""
    return "" if index is None else string.ascii_uppercase[index]


def pick(response: str, choices: tuple[str, ...]) -> int | None:
    """The one choice that a response settles on; None when it names none or several."""
    for found in _readings(readable(response), choices):
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _readings(text: str, choices: tuple[str, ...]) -> Iterator[set[int]]:
    """The choices that each way of reading a response finds, the most trusted way first."""
    for statement in statements(text, _ANNOUNCEMENTS):
        yield named(statement, choices, announced)
    yield _declared_right(text, choices)
    if _lists_choices(text):  # "A. 12 B. 13" repeats the question; what follows the list may still conclude
        conclusion = re.split(r"\n\s*\n", text)[-1]
        yield set() if _lists_choices(conclusion) else _concluded(conclusion, choices)
        return
    if len(sentences(text)) == 1:
        yield _concluded(text, choices)
    first_line = text.split("\n")[0]
    if re.match(r"\W*[A-Za-z]\s*(?:[.):,]|$)", first_line):  # "C) a dog\nBecause ..."
        yield _by_first_letter(first_line, choices)
    yield _by_whole_text(first_line, choices)
    yield _concluded(text, choices)
    yield _by_marked_letter(text, choices)
    yield _by_text(text, choices, shortest=4)


def _concluded(text: str, choices: tuple[str, ...]) -> set[int]:
    """What the last sentence names, above all after a "but"."""
    last = (sentences(text) or [""])[-1]
    return named(_BUT.sub("", last), choices, concluded) or named(last, choices, concluded)


def named(text: str, choices: tuple[str, ...], expression: Callable[[str], str]) -> set[int]:
    """The choices that a short text holds to be the answer; `expression` finds the number in it that counts."""
    if found := _by_whole_text(text, choices):
        return found
    held = _NOT_BUT.sub("", text)
    turn = _TURN.search(held)
    held = held[: turn.start()] if turn else held
    for way in (_by_first_letter, _by_marked_letter, _by_text):
        if found := way(held, choices):
            return found
    if found := _by_value(expression(held), choices) or _by_loose_letter(held, choices):
        return found
    return {index for index in _by_text(text, choices) if _TURN.search(choices[index])}  # "it is not possible"


def _by_whole_text(text: str, choices: tuple[str, ...]) -> set[int]:
    """A letter and nothing else, or the text of a choice and nothing else."""
    key = _key(text)
    if re.fullmatch(r"[a-z]", bare := key.strip("()[].: ")):
        if _index(bare) < len(choices):
            return {_index(bare)}
    return {index for index, choice in enumerate(choices) if key and _key(choice) == key}


def _by_first_letter(text: str, choices: tuple[str, ...]) -> set[int]:
    """ "B. dog", "(b)", "option B because", "A, E"; the article of "A big dog" is no letter."""
    text = _unwrapped(text).lstrip(" \"'([{:.*-")
    text = re.sub(rf"^(?:(?:clearly|likely|probably|indeed|either|both|the)\s+)*(?:{_NOUN}\b[\s(\[]*)?", "", text, flags=re.I)
    match = re.match(r"([a-z](?=\s*[).:\]](?!\w)|\s*$)|[A-Z](?![\w'’]|[-^_=+/]\w|\s*[=+]))", text)
    if match is None or _is_word(match[1], text[match.end() :]) or _lists_choices(text):
        return set()
    rest = text[match.end() :]
    more = re.match(r"(?:\W{0,3}(?:,|\band\b|\bor\b|&|/)\W{0,3}(?:possibly\s+|maybe\s+|perhaps\s+)?(?:(?:option\s+)?[A-Z]\b|[a-z](?=\W*(?:,|and\b|or\b|$))))*", rest)
    return _indices([match[1], *re.findall(r"\b[A-Za-z]\b", more[0])], choices)


def _by_marked_letter(text: str, choices: tuple[str, ...]) -> set[int]:
    """ "12 cm (C)", "12 cm, which is option C"."""
    pattern = r"(?<![\w)])[(\[]([A-Z])[)\]]|\b(?i:option|choice|answer|letter)\s+[(\[\"']?([A-Z])\b(?!')"
    return _indices([first or second for first, second in re.findall(pattern, _unwrapped(text))], choices)


def _by_loose_letter(text: str, choices: tuple[str, ...]) -> set[int]:
    """ "is clearly C"; no letter of a formula, no article and no pronoun."""
    text = _unwrapped(text)
    matches = re.finditer(r"(?<![\w'’\\^_=+*/(-])(?<![=+] )([A-Z])(?![\w'’(^_]|\s*[=+*/]|-\w|\.\w)", text)
    return _indices([match[1] for match in matches if not _is_word(match[1], text[match.end() :])], choices)


def _by_text(text: str, choices: tuple[str, ...], shortest: int = 2) -> set[int]:
    """The choices whose text occurs, not counting those inside the text of a longer one."""
    remaining, found = _key(text), set()
    for index in sorted(range(len(choices)), key=lambda i: -len(_key(choices[i]))):
        key = _key(choices[index])
        if len(key) < shortest or _is_number(key):
            continue
        # "12 cm" is not found in "112 cm", "-12 cm" or "1.12 cm".
        whole = rf"(?<![\w.:/^-]){re.escape(key)}(?!\w|[.:/,^-]\w)"
        remaining, times = re.subn(whole, "\0", remaining)
        if times:
            found.add(index)
    return found


def _by_value(text: str, choices: tuple[str, ...]) -> set[int]:
    """The choices equal to a number or expression."""
    values = [maths.read(choice) if re.search(r"\d|\\|pi", choice) else None for choice in choices]
    return {index for index, value in enumerate(values) if value and maths.same_value(value, text)}


def _declared_right(text: str, choices: tuple[str, ...]) -> set[int]:
    """ "B is correct", "dog is the best answer"; "B is not correct" and "B is incorrect" do not match."""
    label = r"(?<![\w'])\(?([A-Z])\b(?![\w'])\)?"
    matches = [match for match in re.finditer(label + _IS_RIGHT, text) if not _is_word(match[1], text[match.end(1) :])]
    return _indices([matches[-1][1]], choices) if matches else set()


def _lists_choices(text: str) -> bool:
    """Whether the text repeats the choices: "A. 12 B. 13"."""
    labels = re.findall(r"(?:^|[\s(])([A-Z])[.):](?!\w)", _unwrapped(text))
    return "A" in labels and "B" in labels


def _is_word(label: str, rest: str) -> bool:
    """Whether the letter is the article "A" or the pronoun "I", judging by the word after it."""
    return label in "AI" and bool(re.match(rf"['’]|\s+(?!(?:{_AFTER_LETTER[label]})\b)[a-z]", rest))


def _is_number(key: str) -> bool:
    """Whether the text of a choice is one number, to be compared by value: "3", "\\frac{1}{2}"."""
    value = maths.read(key)
    return value is not None and len(value.parts) == 1 and not re.search(r"[a-z]{2}", re.sub(r"frac|sqrt|pi", "", key))


def _indices(labels: list[str], choices: tuple[str, ...]) -> set[int]:
    return {_index(label) for label in labels if _index(label) < len(choices)}


def _index(label: str) -> int:
    return ord(label.upper()) - ord("A")


def _unwrapped(text: str) -> str:
    r"""Without LaTeX around words: "\text{(C)}" and "\( C \)" become "(C)" and " C "."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf|mbox|boxed|rm|bf|textit|mathit)\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\\[()\[\]]|\$|\*|^\s*\{([^{}]*)\}\s*$", r" \1", text).strip()


def _key(text: str) -> str:
    """What two texts of one choice have in common: no case, LaTeX wrapping, articles, or spaces around signs."""
    text = maths.plain(_unwrapped(text)) if "\\" in text or "$" in text else _unwrapped(text)
    text = re.sub(r"\s*([-+*/=^:;,])\s*", r"\1", normalise(text))
    return normalise(text.replace(";", ",").replace(",", ", "))
