"""Finds the choices that a short text names: by letter, text or value. Each function returns their indices."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from extract.grading.maths import maths, notation
from extract.grading.maths.notation import unwrapped
from extract.grading.reading.characters import unified
from extract.grading.reading.languages import lone_letter, rejects
from extract.grading.reading.text import normalise

Choices = tuple[str, ...]
MAX_LENGTH = 600  # of a sentence that is searched for names

NOUN = r"(?:options?|choices?|answers?|letter|statement|figure|picture|image|diagram)"
_LABEL = r"[A-Z](?![\w']|[-^_=+/]\w|\s*[=+])"  # a capital on its own, not in "AB", "A'", "A-frame", "C = 3"
_SMALL_LABEL = r"[a-z](?=\s*[).:\]](?!\w)|\s*$)"  # "b)", "b."
_AND = r"(?:and|or|y|e|o|ou|oder|und|et|en|of|и|или|和|或|と|か|및|또는|veya|atau)"
# "A, E", "A or possibly B", "a, b, c"
_MORE_LABELS = re.compile(
    rf"(?:\W{{0,3}}(?:,|\b{_AND}\b|&|/)\W{{0,3}}(?:(?:possibly|maybe|perhaps|option)\s+)*"
    r"(?:[A-Z]\b|[a-z](?=\W*(?:,|and\b|or\b|$))))*"
)
_HEDGES = re.compile(
    rf"^(?:(?:so|thus|hence|therefore)\b,?\s*)?(?:(?:clearly|likely|probably|indeed|either|both|the)\s+)*(?:{NOUN}\b[\s(\[]*)?",
    re.IGNORECASE,
)
# "12 cm (C)", "12 cm, which is option C"
_MARKED = re.compile(
    rf"(?<![A-Za-z0-9_)])[(\[]([A-Za-z])[)\]]|\b(?i:option|choice|answer|letter)\s+[(\[\"']?({_LABEL})(?!\s*[-*/^])"
)
# "is clearly C"; not a letter in a formula or a list
_LOOSE = re.compile(
    r"(?<![\w'\\^_=+*/(-])(?<![=+A-Z] )(?<![A-Z], )(?<!and )(?<!or )"
    r"([A-Z])(?![\w'(^_]|\W{1,2}(?:(?:and|or)\s)?[A-Z]\b|\s*[=+*/]|-\w|\.\w)"
)
# What may precede it when choices have texts, so that "Project A" and "vitamin C" name no choice.
_BEFORE_LOOSE = re.compile(
    r"(?:^|[:,;.(\[]|'s|\b(?:is|be|so|thus|hence|therefore|with|get|say|clearly|likely|indeed|probably|maybe))\W*$",
    re.IGNORECASE,
)
# "A. 12 B. 13"
_LISTED = re.compile(r"(?:^\W*|[\s(](?=A\)))A[.):](?!\w).*?[\s(]B[.):](?!\w)", re.MULTILINE | re.DOTALL)
# Where a response turns from its answer to what it rejects or to its reasons: "dog, not cat", "dog because ...".
_TURN = re.compile(
    r"\b(?:not|cannot|rather than|instead of|as opposed to|neither|because|since|whereas|while|but)\b|n't\b",
    re.IGNORECASE,
)
# "not B but C", "A, no wait, C"
_CORRECTED = re.compile(
    r"\b(?:not|neither)\b[^.\n]{0,60}?\bbut\b(?:\s+rather)?\s*(?:is\s+)?|(?:不|并非)[^。\n]{0,30}?而"
    r"|^.*\b(?:no,? wait|wait,? no|correction)\b\W*",
    re.IGNORECASE | re.DOTALL,
)
# "It can't be A, ..."
_REJECTED = re.compile(r"[^,;.]*(?:\b(?:not|cannot|neither)\b|n't\b)[^,;.]*[,;.]\s*", re.IGNORECASE)
# Before these words A is not an article and I is not a pronoun: "A because ...", "I is ...".
_AFTER_LETTER = {
    "A": "because|since|as|is|and|or|with|which|due|based|given|would|seems|was|es|ist|est|é|è|är|jest|adalah",
    "I": "because|since|is|and|or",
}
_FORMULA_AT_END = re.compile(r"(?:\$([^$]+)\$|\\\(((?:(?!\\\)).)+)\\\))\W*$")  # "The distance is $\frac{s}{2}$."
_COMMANDS = {"frac", "sqrt", "sin", "cos", "tan", "log"}


def held(text: str, choices: Choices, expression: Callable[[str], str]) -> set[int]:
    """The choices that a short text gives as the answer; `expression` finds the number in it that counts."""
    formula = _FORMULA_AT_END.search(text[:MAX_LENGTH])
    text = unwrapped(text[:MAX_LENGTH])
    if found := by_whole_text(text, choices):
        return found
    text = _CORRECTED.sub("", text)
    if rejects(text):
        return set()
    for part in (_TURN.split(text)[0], _TURN.split(_REJECTED.sub("", text))[0]):
        found = by_first_letter(part, choices) or by_marked_letter(part, choices)
        if not found and formula and not _TURN.search(text):
            found = _by_variables(formula[1] or formula[2], choices)
        found = found or by_text(part.rpartition("=")[2], choices) or by_text(part, choices)
        if found:
            return found
        if found := by_value(expression(part), choices) or _by_loose_letter(part, choices):
            return found
    if found := by_lone_letter(text, choices):
        return found
    return {index for index in by_text(text, choices) if _TURN.search(choices[index])}  # "it is not possible"


def at_start(line: str, choices: Choices) -> set[int]:
    """A letter or text of a choice in the first line of a longer response: "C) a dog", "dog"."""
    has_label = re.match(r"\W*[A-Za-z]\s*(?:[.):,]|$)", line)
    return (by_first_letter(line, choices) if has_label else set()) or by_whole_text(line, choices)


def by_whole_text(text: str, choices: Choices) -> set[int]:
    """The choice when the whole text is a letter or the text of a choice."""
    key = _key(text)
    letter = key.strip("()[].: ")
    if re.fullmatch(r"[a-z]", letter) and index_of(letter) < len(choices):
        return {index_of(letter)}
    same = {index for index, choice in enumerate(choices) if key and _key(choice) == key}
    return same or _by_expression(text, choices)


def _by_expression(text: str, choices: Choices) -> set[int]:
    """The choices that are exactly this expression, ignoring spaces and braces: "3ab" for "$3 a b$"."""
    names = re.findall(r"[a-z]{3,}", notation.plain(text))
    if not re.search(r"\d", text) or len(text) > maths.MAX_LENGTH or not _COMMANDS.issuperset(names):
        return set()
    squashed = notation.squash(text)
    return {index for index, choice in enumerate(choices) if notation.squash(choice) == squashed}


def by_first_letter(text: str, choices: Choices) -> set[int]:
    """ "B. dog", "(b)", "option B because", "A, E"; the article in "A big dog" is not a letter."""
    text = _HEDGES.sub("", unwrapped(text).lstrip(" \"'([{:.*-"))
    match = re.match(rf"{_LABEL}|{_SMALL_LABEL}", text)
    if match is None:
        return set()
    label, rest = index_of(match[0]), text[match.end() :]
    if label < len(choices) and _key(rest.lstrip(" ).:]*-")) == _key(choices[label]) != "":
        return {label}
    if _is_word(match[0], rest) or (match[0] in "Aa" and lists_choices(text)):
        return set()
    more = re.fullmatch(r"(?:\W+[A-Z]\b)+\W*", rest) or _MORE_LABELS.match(rest)
    return _indices([match[0], *re.findall(r"\b[A-Za-z]\b", more[0] if more else "")], choices)


def by_marked_letter(text: str, choices: Choices) -> set[int]:
    """Letters in brackets or after a word such as "option"."""
    return _indices([first or second for first, second in _MARKED.findall(unwrapped(text))], choices)


def by_text(text: str, choices: Choices, shortest: int = 2) -> set[int]:
    """The choices whose text occurs, except inside the text of a longer choice. Numbers are compared by value."""
    remaining, found = _key(text), set()
    for index in sorted(range(len(choices)), key=lambda i: -len(_key(choices[i]))):
        key = _key(choices[index])
        if len(key) < shortest or _is_number(key):
            continue
        # "12 cm" is not found in "112 cm", "-12 cm" or "1.12 cm".
        remaining, times = re.subn(rf"(?<![\w.:/^-]){re.escape(key)}(?!\w|[.:/,^-]\w)", "\0", remaining)
        if times:
            found.add(index)
    return found


def by_lone_letter(text: str, choices: Choices) -> set[int]:
    """The only letter in a short answer in another language."""
    letter = lone_letter(unwrapped(text))
    return _indices([letter] if letter else [], choices)


def lists_choices(text: str) -> bool:
    """Whether the text repeats the list of choices."""
    return _LISTED.search(unwrapped(text)) is not None


def index_of(letter: str) -> int:
    """0 for A or a."""
    return ord(letter.upper()) - ord("A")


def by_value(text: str, choices: Choices) -> set[int]:
    """The choices with the value of a number or expression, ignoring units."""
    values = [_value(choice) for choice in choices]
    return {index for index, value in enumerate(values) if value and maths.same_value(value, text)}


def _by_variables(text: str, choices: Choices) -> set[int]:
    """The choices equal to an expression with variables, which later steps cannot distinguish from ordinary words."""
    value = maths.read(text)
    return by_value(text, choices) if value is not None and value.symbolic else set()


def _by_loose_letter(text: str, choices: Choices) -> set[int]:
    text = unwrapped(text)
    drawn = all(len(_key(choice).strip("()")) == 1 for choice in choices)  # choices without a text
    letters = [
        match[1]
        for match in _LOOSE.finditer(text)
        if not _is_word(match[1], text[match.end() :]) and (drawn or _BEFORE_LOOSE.search(text[: match.start()]))
    ]
    return _indices(letters, choices)


def _is_word(letter: str, rest: str) -> bool:
    """Whether the letter is the article "A" or the pronoun "I", judged by the next word."""
    return letter in "AI" and re.match(rf"'|\s+(?!(?:{_AFTER_LETTER[letter]})\b)[a-z]", rest) is not None


def _is_number(key: str) -> bool:
    """Whether the text of a choice is one number, which is compared by value: "3", "\\frac{1}{2}"."""
    value = _value(key)
    return value is not None and len(value.parts) == 1 and not re.search(r"[a-z]{2}", re.sub("frac|sqrt|pi", "", key))


def _value(choice: str) -> maths.Value | None:
    """The value of a choice; "5-4-3" is an order, not a difference."""
    choice = unified(choice)
    if re.fullmatch(r"\d+(?:-\d+)+", choice) or not re.search(r"\d|\\|pi", choice):
        return None
    return maths.read(choice)


def _indices(letters: list[str], choices: Choices) -> set[int]:
    return {index_of(letter) for letter in letters if index_of(letter) < len(choices)}


@functools.lru_cache(maxsize=10_000)
def _key(text: str) -> str:
    """The key on which two texts of one choice agree: no case, LaTeX wrapping, articles, or spaces around signs."""
    text = unwrapped(normalise(text))
    text = notation.plain(text) if "\\" in text or "$" in text else text
    # "a + b" is "a+b", but "Na+ here" stays
    text = re.sub(r"((?<=[a-z])[-+] )(?=[a-z]{2})|\s*([-+*/=^:;,])\s*", r"\1\2", normalise(text))
    return normalise(text.replace(";", ",").replace(",", ", "))
